"""Collected Ctrl-C and SIGTERM; the old handlers are restored."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading

import pytest

from factory.core.stop_signals import collect_signals


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_every_signal_is_noted_and_handlers_come_back(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with collect_signals() as caught:
        signal.raise_signal(number)
        signal.raise_signal(number)
    assert caught == [number, number]
    assert signal.getsignal(number) is before


def test_the_second_one_ends_the_process_where_only_the_first_is_noted() -> None:
    program = (
        "import signal\n"
        "from factory.core.stop_signals import collect_signals\n"
        "with collect_signals(first_only=True) as caught:\n"
        "    signal.raise_signal(signal.SIGTERM)\n"
        "    print(len(caught), flush=True)\n"
        "    signal.raise_signal(signal.SIGTERM)\n"
        "print('alive')\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "1\n"
    assert done.returncode == -signal.SIGTERM


def test_a_thread_that_cannot_be_interrupted_sees_none() -> None:
    seen: list[list[int]] = []

    def work() -> None:
        with collect_signals() as caught:
            seen.append(caught)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [[]]
