"""python -m polysed_keras."""
import sys

from polysed_keras.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
