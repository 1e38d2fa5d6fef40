"""A program in which the system refuses one call, as an old kernel or a container does: seccomp.py call errno code."""

from __future__ import annotations

import ctypes
import platform
import struct
import sys

NUMBERS = {
    "x86_64": {"pidfd_open": 434, "pidfd_send_signal": 424, "memfd_create": 319, "eventfd": 290},
    "aarch64": {"pidfd_open": 434, "pidfd_send_signal": 424, "memfd_create": 279, "eventfd": 19},
}
NO_NEW_PRIVILEGES, SET_SECCOMP, FILTER = 38, 22, 2
LOAD, EQUALS, RETURN = 0x20, 0x15, 0x06  # a word of what is looked at; skip unless it is; the verdict
ALLOW, ERROR = 0x7FFF0000, 0x00050000


class Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("steps", ctypes.c_char_p))


def refuse(call: str, errno: int) -> None:
    """From now on, in this process and all that it starts."""
    number = NUMBERS[platform.machine()][call]
    steps = [(LOAD, 0, 0, 0), (EQUALS, 0, 1, number), (RETURN, 0, 0, ERROR | errno), (RETURN, 0, 0, ALLOW)]
    program = Program(len(steps), b"".join(struct.pack("=HBBI", *step) for step in steps))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(NO_NEW_PRIVILEGES, 1, 0, 0, 0) or libc.prctl(SET_SECCOMP, FILTER, ctypes.byref(program)):
        raise OSError(ctypes.get_errno(), "no filter can be set")


if __name__ == "__main__":
    refuse(sys.argv[1], int(sys.argv[2]))
    exec(compile(sys.argv[3], "<refused>", "exec"))
