"""Processes that are forked from one in which torch, DGL and the package are imported.

A process of its own takes three seconds for imports, and most tests that need another process need no new interpreter.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import multiprocessing.forkserver
import multiprocessing.util
import os
import signal
import socket
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from dgl_mutual.cli.main import main
from dgl_mutual.experiments import processes
from dgl_mutual.utils.python_processes import Surroundings

CONTEXT = multiprocessing.get_context("forkserver")
#: What is not installed is left out.
CONTEXT.set_forkserver_preload(["dgl_mutual.experiments.suites.suite", "dgl_mutual.reporting.suite_tables", "torch_geometric.nn", __name__])
multiprocessing.util.get_temp_dir()  # the server's socket is in it: it is made here, and not in a folder that goes earlier
_NEW_MOUNT_NAMESPACE = 0x00020000  # CLONE_NEWNS of Linux's sched.h


def start_server() -> None:
    """Call it before interrupts are blocked: the server, and all processes that are forked from it, would have them blocked as well."""
    multiprocessing.forkserver.ensure_running()


def start(
    function: Callable[..., None], *arguments: object, log: Path, folder: Path | None = None, environment: Mapping[str, str] | None = None
) -> BaseProcess:
    """Call a function in a process of its own.

    Args:
        log: gets what it writes on standard output and standard error.
        folder: where it works (default: here).
        environment: further variables.
    """
    log.touch()
    # The server may have been started where another folder was that of temporary files, which is gone.
    variables = {"TMPDIR": tempfile.gettempdir(), **(environment or {})}
    process = CONTEXT.Process(target=_run, args=(function, arguments, log, folder or Path.cwd(), variables))
    process.start()
    return process


def _run(function: Callable[..., None], arguments: Sequence[object], log: Path, folder: Path, environment: dict[str, str]) -> None:
    written = os.open(log, os.O_WRONLY | os.O_TRUNC)
    os.dup2(written, 1)
    os.dup2(written, 2)
    os.chdir(folder)
    os.environ.update(environment)
    tempfile.tempdir = None  # that of the server
    function(*arguments)


def begin_work(parent: int, of_parent: Surroundings) -> None:
    """What a process that trains does first, where its parent is the server."""
    processes.begin_work(os.getppid(), of_parent)


def begin_apart(parent: int, of_parent: Surroundings) -> None:
    """As `begin_work`, in a process of `process_apart`."""
    processes.begin_apart(os.getppid(), of_parent)


def command(*arguments: object) -> None:
    """The command line; the process ends with its exit status."""
    main([str(argument) for argument in arguments])


def on_a_machine_of_its_own(*commands: tuple[Sequence[object], Mapping[str, str]]) -> None:
    """Commands at the same time, each with its further variables, where shared memory is their own, as on another machine.

    Says how they ended. Needs the right to mount file systems.
    """
    if ctypes.CDLL(None, use_errno=True).unshare(_NEW_MOUNT_NAMESPACE):
        raise OSError(ctypes.get_errno(), "unshare")
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", "/dev/shm"], check=True)
    both = [multiprocessing.get_context("fork").Process(target=_command_in_time, args=given) for given in commands]
    for process in both:
        process.start()
    for process in both:
        process.join()
    print("ended with", *(process.exitcode for process in both))


def _command_in_time(arguments: Sequence[object], environment: Mapping[str, str]) -> None:
    signal.alarm(100)
    os.environ.update(environment)
    command(*arguments)


def free_ports(number: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(number)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def ranks(size: int, port: int, local: bool = True) -> list[dict[str, str]]:
    """The variables that torchrun sets, for each of several processes: on one machine, or on one machine each."""
    shared = {"TORCHELASTIC_RUN_ID": "none", "WORLD_SIZE": str(size), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    places = [(rank, 0) if local else (0, rank) for rank in range(size)]
    return [
        {**shared, "RANK": str(rank), "LOCAL_RANK": str(within), "GROUP_RANK": str(group)} for rank, (within, group) in enumerate(places)
    ]


def statuses(processes: Sequence[BaseProcess], seconds: float = 120.0) -> list[int | None]:
    """How all ended; None: not within that time, and then they are killed."""
    for process in processes:
        process.join(seconds)
    found = [process.exitcode for process in processes]
    for process in processes:
        process.kill()
    return found


def returned(function: Callable[[], Any]) -> Any:
    """What a function returns in a process of its own."""
    with CONTEXT.Pool(1) as pool:
        return pool.apply(function)
