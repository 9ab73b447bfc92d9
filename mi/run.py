"""One command's life: its name and its words in, an exit code out.

Parse, run, and hand whatever goes wrong to `mi/failures.py`. The command asks `invocation()` for how it was called, in
the canonical form that the chain of a stream records. Only this file and `mi/options.py` know that the parser is typer.
"""

from __future__ import annotations

import inspect
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache, partial
from importlib import import_module
from keyword import iskeyword
from typing import TYPE_CHECKING, Any

import typer

from mi.errors import OK, USAGE, MiError, UsageError
from mi.failures import explain, interrupts, report
from mi.io import source
from mi.options import UNRECORDED
from mi.show.notes import Voice, note, voice

if TYPE_CHECKING:
    from mi.io.chain import Invocation


@dataclass
class Call:
    """A command, its function and the values of its parameters."""

    command: str
    function: Callable[..., Any]
    arguments: dict[str, Any]


TYPED = "trust_remote_code"  # no file of a project that somebody else wrote may say so

_current: ContextVar[Call | None] = ContextVar("call", default=None)


def run(command: str, argv: Sequence[str]) -> int:
    """The whole life of `mi COMMAND ARGV...`. Never raises."""
    if rank_of_several() is None:
        return _run(command, argv)
    from mi.core.ranks import Endings, together

    return together(command, partial(_run, command, argv), Endings(report, explain))


def rank_of_several() -> int | None:
    """Which of the processes this is that torchrun started for one command; None where it is alone."""
    said = [os.environ.get(name, "") for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")]
    if not all(word.isdigit() for word in said) or int(said[1]) == 1:
        return None
    return int(said[0])


def _run(
    command: str,
    argv: Sequence[str],
    start: Callable[[Mapping[str, Any]], None] = lambda arguments: None,
    on_error: Callable[[BaseException], int] = report,
) -> int:
    token = voice.set(Voice(command))
    source.note = note
    try:
        with _signals():
            code = execute(command, argv, start)
            _flush()
        return code
    except BaseException as error:
        code = on_error(error)
        if isinstance(error, source.TerminalInput):
            _short_help()
        return code
    finally:
        voice.reset(token)


def execute(
    command: str, argv: Sequence[str], start: Callable[[Mapping[str, Any]], None] = lambda arguments: None
) -> int:
    """Parse and run, and let errors through: what `run` wraps, and what `mi pipe` does for each stage. ``start`` is
    told the arguments before anything is done with them."""
    call = parse(command, argv)
    if isinstance(call, int):
        return call
    _check_several(call)
    start(call.arguments)
    follows = bool(rank_of_several())  # rank 0 speaks and writes
    voice_token = voice.set(Voice(call.command, follows or bool(call.arguments.get("quiet"))))
    call_token = _current.set(call)
    try:
        if not follows:
            _check_output(call.arguments.get("output"))
        if call.arguments.get("trust_remote_code"):
            _check_pin(call.arguments.get("model"), call.arguments.get("revision"))
        code = call.function(**call.arguments)
        return OK if code is None else int(code)
    finally:
        _current.reset(call_token)
        if sys.exc_info()[0] is None:  # an error is reported in the name of the command that raised it
            voice.reset(voice_token)


def _check_several(call: Call) -> None:
    """What only several processes can do is for those that torchrun started."""
    if call.arguments.get("tensor_parallel") and rank_of_several() is None:
        raise UsageError(
            "--tensor-parallel cuts the model up among processes, and there is one",
            f"start them with: torchrun --nproc-per-node 2 -m mi {call.command} --tensor-parallel",
        )


def _check_output(output: str | None) -> None:
    """A result that could not be written is known before the work, not after it."""
    if output is not None:
        from mi.io.writing import check_output

        check_output(output)


def _check_pin(model: str | None, revision: str | None) -> None:
    """Code from the hub is that of a commit which somebody has looked at. (A stream names the commit of its model.)"""
    from mi import embedded

    here = model is None or model in embedded.NAMES or os.path.isdir(model) or os.path.isfile(model.rpartition(":")[0])
    if not here and not revision:
        raise UsageError("--trust-remote-code runs code from the hub", "pin it with --revision COMMIT")


def parse(command: str, argv: Sequence[str]) -> Call | int:
    """The call that the words mean, or the exit code if they asked for help only."""
    command, function, words = find(command, argv)
    if "remote" in inspect.signature(function).parameters:
        words = _whole(words)
    calls: list[Call] = []
    parser = build(command, function, lambda **arguments: calls.append(Call(command, function, arguments)))
    try:
        outcome = parser.main(
            args=list(words), prog_name=f"mi {command}", standalone_mode=False, default_map=_settings(command, function)
        )
    except typer.Abort as error:
        raise KeyboardInterrupt from error
    except Exception as error:
        if not hasattr(error, "format_message"):  # every error of the parser has it, in all versions of typer
            raise
        raise _usage_error(command, error) from error
    if not calls:
        return int(outcome or OK)
    _refuse_empty(calls[0])
    return calls[0]


def _whole(words: Sequence[str]) -> list[str]:
    """`--remote` may stand alone: it then means NDIF."""
    made: list[str] = []
    for number, word in enumerate(words):
        made.append(word)
        if word == "--remote" and words[number + 1 : number + 2] not in (["local"], ["ndif"]):
            made.append("ndif")
    return made


def _usage_error(command: str, error: Any) -> MiError:
    text = str(error.format_message()).strip().rstrip(".")
    text = text[:1].lower() + text[1:]
    return MiError(text, f"see 'mi {command} --help'", code=USAGE)


def _refuse_empty(call: Call) -> None:
    """`-m "$MODEL"` with nothing in the variable must not quietly mean the default."""
    for name, value in call.arguments.items():
        if value == "" or (isinstance(value, (list, tuple)) and "" in value):
            marks = getattr(evaluated(call.function)[name], "__metadata__", ())
            word = _flag(name, marks) or name.upper()
            raise UsageError(f"{word} is empty", "give it a value, or leave it away")


def find(command: str, argv: Sequence[str]) -> tuple[str, Callable[..., Any], Sequence[str]]:
    """The function of a command. A module with SUBCOMMANDS gives some first words a function of their own."""
    commands = module(command)
    inner = getattr(commands, "SUBCOMMANDS", {})
    if argv and argv[0] in inner:
        return f"{command} {argv[0]}", inner[argv[0]], argv[1:]
    return command, getattr(commands, python_name(command)), argv


def module(command: str) -> Any:
    """The module of a command."""
    return import_module(f"mi.commands.{python_name(command)}")


def python_name(command: str) -> str:
    """What a command is called in Python, where `import` is taken."""
    return f"{command}_" if iskeyword(command) else command


def build(command: str, function: Callable[..., Any], call: Callable[..., Any] | None = None) -> Any:
    """The parser of one command, made from its function's signature and docstring."""

    def target(**arguments: Any) -> None:
        if call is not None:
            call(**arguments)

    hints = evaluated(function)
    signature = inspect.signature(function)
    parameters = [p.replace(annotation=hints[p.name]) for p in signature.parameters.values()]
    target.__signature__ = signature.replace(parameters=parameters, return_annotation=None)  # type: ignore[attr-defined]
    target.__annotations__ = {p.name: p.annotation for p in parameters}
    app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
    app.command(
        name=command,
        help=help_text(function),
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    )(target)
    return typer.main.get_command(app)


@cache  # a command asks more than once
def evaluated(function: Callable[..., Any]) -> Mapping[str, Any]:
    """A function's annotations, evaluated. (Python 3.10's `get_type_hints` would hide what stands beside a default of
    None inside an Optional.)"""
    return inspect.get_annotations(function, eval_str=True)


def help_text(function: Callable[..., Any]) -> str:
    """A command's docstring for the parser, which would re-wrap the examples if they were not marked."""
    paragraphs = inspect.cleandoc(function.__doc__ or "").split("\n\n")
    return "\n\n".join(f"\b\n{p}" if p.startswith(("Examples:", "    ")) else p for p in paragraphs)


def invocation() -> Invocation:
    """How the running command was called, for the chain of the stream that it writes."""
    from mi.io.chain import Invocation

    call = _current.get()
    if call is None:
        raise RuntimeError("invocation() is only for a running command")
    return Invocation(call.command, tuple(canonical_argv(call.function, call.arguments)))


def canonical_argv(function: Callable[..., Any], arguments: dict[str, Any]) -> Iterator[str]:
    """The words that a result depends on: values that differ from the default, in the order of the signature, wherever
    they came from (flag, environment, settings)."""
    hints = evaluated(function)
    for name, parameter in inspect.signature(function).parameters.items():
        value = arguments.get(name, parameter.default)
        marks = getattr(hints[name], "__metadata__", ())
        if value is None or value == parameter.default or UNRECORDED in marks:
            continue
        flag = _flag(name, marks)
        for item in value if isinstance(value, (list, tuple)) else [value]:
            if isinstance(item, bool):
                yield flag if item else f"--no-{name.replace('_', '-')}"
            else:
                yield from [flag, str(item)] if flag else [str(item)]


def _flag(name: str, marks: Sequence[Any]) -> str:
    """The long name of an option; nothing for an argument."""
    info = next((mark for mark in marks if hasattr(mark, "param_decls")), None)
    if isinstance(info, type(typer.Argument())):
        return ""
    # typer keeps the first name of an annotated option where its default would stand.
    names = (getattr(info, "default", None), *(getattr(info, "param_decls", None) or ()))
    declared = [word for word in names if isinstance(word, str) and word.startswith("--")]
    return declared[0].split("/")[0] if declared else f"--{name.replace('_', '-')}"


def _settings(command: str, function: Callable[..., Any]) -> dict[str, Any]:
    """Defaults from [tool.mi] and [tool.mi.COMMAND] of the nearest pyproject.toml, by parameter name."""
    from mi.io.settings import project

    table = project()
    names = inspect.signature(function).parameters
    own = table.get(command)
    own = own if isinstance(own, dict) else {}
    flags = _flag_names(function)
    values = {flags.get(key, key.replace("-", "_")): value for key, value in {**table, **own}.items()}
    if TYPED in names and TYPED in values:
        raise UsageError(f"{TYPED.replace('_', '-')} is no setting", "it must be typed each time", place="[tool.mi]")
    for key in own:  # a key of [tool.mi] may be meant for another command, one of [tool.mi.COMMAND] may not
        if flags.get(key, key.replace("-", "_")) not in names:
            raise UsageError(f"mi {command} has no setting {key!r}", f"see 'mi {command} --help'", place="[tool.mi]")
    return {name: values[name] for name in names if name in values}


def _flag_names(function: Callable[..., Any]) -> dict[str, str]:
    """The parameter of each flag that is called otherwise: `min` may not be the name of a parameter."""
    marks = {name: getattr(hint, "__metadata__", ()) for name, hint in evaluated(function).items()}
    found = {_flag(name, each).removeprefix("--"): name for name, each in marks.items() if each}
    return {flag: name for flag, name in found.items() if flag and flag.replace("-", "_") != name}


def _short_help() -> None:
    """What the command does, for someone who typed its name and got no answer."""
    words = voice.get().command.split()
    command, function, _ = find(words[0], words[1:])
    first = inspect.cleandoc(function.__doc__ or "").split("\n\n")[0]
    with suppress(OSError, ValueError):
        print(f"\n{first}\nUsage: mi {command} [OPTIONS] [FILE]\nAll options: mi {command} --help", file=sys.stderr)


# The process


def _flush() -> None:
    """Find out now, not at exit, whether everything was really written."""
    if sys.stdout is not None:
        sys.stdout.flush()


def _interrupt(number: int, frame: object) -> None:
    interrupts.append(number)
    raise KeyboardInterrupt


@contextmanager
def _signals() -> Iterator[None]:
    """SIGTERM and SIGHUP end the command in order, so that temporary files go with it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    interrupts.clear()
    wanted = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    old = {number: signal.getsignal(number) for number in wanted}
    for number, handler in old.items():
        if handler == signal.SIG_DFL:  # nohup has SIGHUP ignored: leave it so
            signal.signal(number, lambda n, _: sys.exit(128 + n))
    if (at_interrupt := signal.getsignal(signal.SIGINT)) == signal.default_int_handler:
        signal.signal(signal.SIGINT, _interrupt)
        old[signal.SIGINT] = at_interrupt
    try:
        yield
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)
