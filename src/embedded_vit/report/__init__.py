"""Many runs and compression steps on one page: what each segments, and what it costs."""
