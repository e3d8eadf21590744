"""Makes the built-in models: the table of their trainings, the trainings, their tests, and their place in the package.

    python -m factory.builtin_models NAME ...    trains, tests, exports and installs models, on any computer
    python -m factory.gpu_trainings NAME ...     does the trainings of all of them on one GPU before
    python -m factory.model_cards                writes docs/models/ from the package

The commands run in the root of the checkout.
"""
