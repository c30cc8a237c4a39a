"""Simulates a user at a terminal: runs the command in the first argument at a new terminal, executes the other arguments in
order, and hangs up.

  type TEXT   types TEXT; ^C, ^D and ^Z are those keys, and ^M ends a line
  see TEXT    waits until TEXT is printed, after all text that was awaited before
"""

import os
import pty
import select
import sys
import termios
import time

LIMIT = 60
KEYS = {"^C": "\x03", "^D": "\x04", "^Z": "\x1a", "^M": "\n"}

pid, terminal = pty.fork()
if pid == 0:
    # Typed text is not echoed, so that it is not mistaken for output.
    settings = termios.tcgetattr(0)
    settings[3] &= ~termios.ECHO
    termios.tcsetattr(0, termios.TCSANOW, settings)
    words = sys.argv[1].split()
    os.execvp(words[0], words)

shown = ""
everything = ""
deadline = time.monotonic() + LIMIT
for step in sys.argv[2:]:
    what, _, text = step.partition(" ")
    if what == "type":
        for name, key in KEYS.items():
            text = text.replace(name, key)
        os.write(terminal, text.encode())
        continue
    while text not in shown:
        left = deadline - time.monotonic()
        if left < 0 or not select.select([terminal], [], [], left)[0]:
            sys.exit(f"{text!r} was not shown in {LIMIT} s after:\n{everything}")
        try:
            new = os.read(terminal, 4096).decode()
        except OSError:
            sys.exit(f"{text!r} was never shown:\n{everything}")
        shown += new
        everything += new
    shown = shown[shown.index(text) + len(text) :]
os.close(terminal)
os.waitpid(pid, 0)
