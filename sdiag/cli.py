"""The typer app. Commands import what they need when they run, so that `--help` is instant."""

import logging
import sys
from typing import Annotated

import typer

from degradation.errors import SdiagError
from reports.markdown import visible
from sdiag.commands import (
    ablate,
    audit,
    cache,
    compare,
    diagnose,
    doctor,
    drift,
    encoders,
    extract,
    gcd,
    plan,
    probe,
    provenance,
    report,
    scenes,
    slices,
    study,
    train_socialfusion,
    transfer,
    where,
)

__all__ = ["app", "main"]

app = typer.Typer(
    name="sdiag",
    help=(
        "Did visual-linguistic pre-training damage what this vision encoder knows about people?\n\n"
        "Start with `sdiag report`: with nothing else given, every command works offline on the "
        "embedded pair `tiny` and its rendered scenes."
    ),
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
app.command("extract", epilog=extract.EXAMPLES)(extract.extract)
app.command("probe", epilog=probe.EXAMPLES)(probe.probe)
app.command("report", epilog=report.EXAMPLES)(report.report)
app.command("doctor", epilog=doctor.EXAMPLES)(doctor.doctor)
app.command("audit", epilog=audit.EXAMPLES)(audit.audit)
app.command("compare", epilog=compare.EXAMPLES)(compare.compare)
app.command("diagnose", epilog=diagnose.EXAMPLES)(diagnose.diagnose)
app.command("drift", epilog=drift.EXAMPLES)(drift.drift)
app.command("gcd", epilog=gcd.EXAMPLES)(gcd.gcd)
app.command("encoders", epilog=encoders.EXAMPLES)(encoders.encoders)
app.command("plan", epilog=plan.EXAMPLES)(plan.plan)
app.command("provenance", epilog=provenance.EXAMPLES)(provenance.provenance)
app.command("slices", epilog=slices.EXAMPLES)(slices.slices)
app.command("study", epilog=study.EXAMPLES)(study.study)
app.command("transfer", epilog=transfer.EXAMPLES)(transfer.transfer)
app.command("ablate", epilog=ablate.EXAMPLES)(ablate.ablate)
app.command("where", epilog=where.EXAMPLES)(where.where)
app.command("train-socialfusion", epilog=train_socialfusion.EXAMPLES)(
    train_socialfusion.train_socialfusion
)
app.add_typer(scenes.app, name="scenes")
app.add_typer(cache.app, name="cache")


def _version(wanted: bool) -> None:
    if wanted:
        from sdiag import __version__

        print(__version__)
        raise typer.Exit


@app.callback()
def _root(
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Log what is done, on stderr.")
    ] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    logging.basicConfig(
        level=logging.INFO if verbose else logging.WARNING,
        format="%(levelname)s %(name)s: %(message)s",
        stream=sys.stderr,
    )


def main() -> None:
    """Run the command line; a user's mistake ends with one message and the error's exit code."""
    try:
        app()
    except SdiagError as error:
        # Names in a message may come from files that somebody else wrote.
        print(f"sdiag: {visible(str(error))}", file=sys.stderr)
        raise SystemExit(error.exit_code) from None
    except KeyboardInterrupt:
        print("sdiag: interrupted; finished shards are kept, run again to go on.", file=sys.stderr)
        raise SystemExit(130) from None
