"""The factory of the built-in models: the table of their trainings, the trainings, the tests, the installation.

    python -m factory.builtin_models NAME ...    trains, tests, exports and installs models, on any computer
    python -m factory.gpu_trainings NAME ...     does the trainings of all models first, on one GPU
    python -m factory.model_cards                writes docs/models/ from the package

The commands run in the root of the checkout.
"""
