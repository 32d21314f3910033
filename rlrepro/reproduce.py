"""`python -m rlrepro.reproduce CARD`: a card's claims trained, scored and judged (`rlrepro.papers.reproduce`)."""

import sys

from rlrepro.papers.reproduce.reproduction import main

if __name__ == "__main__":
    sys.exit(main())
