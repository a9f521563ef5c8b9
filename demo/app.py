"""Paint, propagate, correct and export in the browser; the same as the command ``stt-mm app``."""

from stt_mm.app import main

if __name__ == '__main__':
    main()
