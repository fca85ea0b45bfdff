"""`python APP -i FOLDER -o FOLDER`."""

import sys

from application import main

if __name__ == "__main__":
    sys.exit(main())
