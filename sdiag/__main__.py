"""`python -m sdiag`, for launchers such as `accelerate launch -m sdiag`."""

from sdiag.cli import main

if __name__ == "__main__":
    main()
