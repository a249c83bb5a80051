"""`python -m studyrun`."""

from studyrun.cli import main

if __name__ == "__main__":
    main()
