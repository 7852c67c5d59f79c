"""The command ``epgbloch``. Each command imports its job only when it runs: ``--help`` stays quick."""

from __future__ import annotations

import errno
import os
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from jobs import cli_design, cli_dictionary, cli_mrzero, cli_report
from jobs.cli_options import (
    CONTEXT,
    DEBUG,
    Debug,
    Force,
    OutFile,
    OutFolder,
    Protocol,
    ProtocolOption,
    Quiet,
    Rank,
    Roi,
    Threads,
    Truth,
    numbers,
)
from jobs.console import Console


class _Group(TyperGroup):
    """Commands whose errors of input end as one line and exit code 1."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            print("interrupted", file=sys.stderr)
            raise typer.Exit(130) from None
        except (ValueError, OSError, MemoryError) as error:
            # Bad input always raises ValueError or OSError here; anything else is a mistake of the program
            # and keeps its traceback. A closed pipe is for typer.
            if ctx.meta.get(DEBUG) or getattr(error, "errno", None) == errno.EPIPE:
                raise
            print(f"error: {_one_line(error)}", file=sys.stderr)
            raise typer.Exit(1) from None


def _one_line(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        text = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    else:
        text = str(error) or type(error).__name__
    return " ".join(text.split())


app = typer.Typer(
    cls=_Group,
    context_settings=CONTEXT,
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.add_typer(cli_dictionary.app, name="dictionary")
app.add_typer(cli_design.app, name="design")
app.add_typer(cli_mrzero.app, name="mrzero")


def main() -> None:
    """Run the command line; the console script ``epgbloch``."""
    # TensorFlow's remarks on processors, not its errors
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    app(prog_name="epgbloch")


def _print_version(value: bool) -> None:
    if value:
        from epgbloch import __version__

        print(f"epgbloch {__version__}")
        raise typer.Exit


class _Coils(StrEnum):
    """Methods of estimating coil sensitivities."""

    espirit = "espirit"
    adaptive = "adaptive"


class _Method(StrEnum):
    """Methods of reconstruction."""

    low_rank = "low-rank"
    lr_admm = "lr-admm"


class _GradientDelays(StrEnum):
    """What to do about gradient delays."""

    none = "none"
    estimate = "estimate"


class _Template(StrEnum):
    """Phantoms."""

    analytic = "analytic"
    mni152 = "mni152"


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit."),
    ] = False,
) -> None:
    """Exact EPG-Bloch simulation, dictionaries and quantitative MRI maps from raw data.

    Start with `epgbloch demo`. Each command has its own --help.
    """


@app.command()
def demo(
    out: OutFolder = Path("demo"),
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Reconstruct a phantom, from raw data to errors.

    Makes raw data and a dictionary, reconstructs maps and compares them with the truth. Takes about 15 s on
    two cores, and some seconds more the first time, when kernels are compiled. Writes a folder with
    everything; an earlier demo in it is replaced.
    """
    console = Console(quiet)
    console.info("epgbloch demo: phantom -> ISMRMRD raw data -> dictionary -> T1, T2 and PD maps")
    from jobs.demo import run_demo

    run_demo(out, console)


@app.command()
def simulate(
    protocol: Protocol,
    t1_ms: Annotated[list[str], typer.Option("--t1-ms", metavar="MS", help="T1, one or several: 800,1300.")],
    t2_ms: Annotated[list[str], typer.Option("--t2-ms", metavar="MS", help="T2 of each T1, or one for all.")],
    out: OutFile,
    b1: Annotated[
        list[str] | None, typer.Option("--b1", metavar="B1", help="B1 relative to nominal. [default: 1]")
    ] = None,
    off_resonance_hz: Annotated[
        list[str] | None,
        typer.Option("--off-resonance-hz", metavar="HZ", help="Off-resonance frequency. [default: 0]"),
    ] = None,
    figure: Annotated[
        Path | None, typer.Option("--figure", metavar="PNG", help="Also draw the signals.")
    ] = None,
    force: Force = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Simulate the signals of tissues.

    The name of the file ends in .csv or .h5. Lists are comma-separated or given by repeating the option. The
    n-th values of all lists make the n-th tissue; a single value serves all tissues.
    """
    from jobs.simulate import run_simulate

    values = {
        "--t1-ms": t1_ms,
        "--t2-ms": t2_ms,
        "--b1": b1 or ["1"],
        "--off-resonance-hz": off_resonance_hz or ["0"],
    }
    lists = [numbers(option, texts) for option, texts in values.items()]
    run_simulate(protocol, *lists, out=out, figure=figure, force=force, console=Console(quiet))


@app.command()
def reconstruct(
    scan: Annotated[
        Path, typer.Argument(metavar="SCAN", help="ISMRMRD (.mrd, .h5) or twix (.dat) raw data.")
    ],
    protocol: ProtocolOption,
    out: OutFolder,
    rank: Rank = None,
    dictionary: Annotated[
        Path | None,
        typer.Option("--dictionary", metavar="FILE", help="Stored dictionary of this protocol."),
    ] = None,
    method: Annotated[
        _Method | None,
        typer.Option("--method", help="Low-rank inversion, or LR-ADMM after it, instead of the protocol's."),
    ] = None,
    iterations: Annotated[
        int | None,
        typer.Option("--iterations", help="Iterations of the low-rank inversion, instead of the protocol's."),
    ] = None,
    coils: Annotated[
        _Coils | None, typer.Option("--coils", help="Coil sensitivities, instead of the protocol's.")
    ] = None,
    virtual_coils: Annotated[
        float | None,
        typer.Option(
            "--virtual-coils",
            metavar="N",
            help="Compress the coils to so many, or to as many as keep this fraction of the energy (0.999).",
        ),
    ] = None,
    sensitivities: Annotated[
        Path | None,
        typer.Option(
            "--sensitivities",
            metavar="FILE",
            help="Coil sensitivities that are not estimated: .nii, .npy, .h5 or .cfl (BART).",
        ),
    ] = None,
    b0_map: Annotated[
        Path | None,
        typer.Option(
            "--b0-map",
            metavar="FILE",
            help="Off-resonance in Hz, 0 outside the object: NIfTI with the geometry of the maps.",
        ),
    ] = None,
    gradient_delays: Annotated[
        _GradientDelays | None,
        typer.Option("--gradient-delays", help="Estimate and correct gradient delays of radial data."),
    ] = None,
    mask: Annotated[
        Path | None,
        typer.Option(
            "--mask", metavar="FILE", help="Voxels to match: NIfTI of 0 and 1 with the geometry of the maps."
        ),
    ] = None,
    refine: Annotated[
        bool, typer.Option("--refine", help="Go below the step of the grid, and write standard errors.")
    ] = False,
    roi: Roi = None,
    truth: Truth = None,
    subject: Annotated[str, typer.Option("--subject", help="BIDS label: letters and digits.")] = "01",
    force: Force = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Reconstruct maps from raw data.

    T1, T2, proton density and, if the dictionary has an axis for it, B1, slice by slice. The folder becomes a
    BIDS derivatives dataset (NIfTI and JSON) with figures, provenance and report.html. Slices without signal
    stay empty. Several repetitions of the train are taken to start from full recovery each. Interrupted or
    killed, it continues when called again: finished slices are kept in FOLDER.parts until then.
    """
    from jobs.reconstruct import run_reconstruct

    run_reconstruct(
        scan,
        protocol,
        out=out,
        rank=rank,
        dictionary_path=dictionary,
        method=method.value if method else None,
        n_iterations=iterations,
        coil_method=coils.value if coils else None,
        virtual_coils=virtual_coils,
        sensitivity_path=sensitivities,
        b0_path=b0_map,
        gradient_delays=gradient_delays.value if gradient_delays else None,
        mask_path=mask,
        refined=refine,
        roi_path=roi,
        truth_path=truth,
        subject=subject,
        force=force,
        console=Console(quiet),
    )


app.command()(cli_report.report)


@app.command()
def phantom(
    protocol: ProtocolOption,
    out: OutFolder,
    matrix: Annotated[int, typer.Option("--matrix", help="Pixels on each side of the image.")] = 128,
    coils: Annotated[int, typer.Option("--coils", help="Number of receiver coils.")] = 8,
    snr: Annotated[float, typer.Option("--snr", help="Mean |k-space| over the SD of the noise.")] = 40.0,
    repetitions: Annotated[
        int,
        typer.Option(
            "--repetitions",
            help="How often the train is played, each time from full recovery; one readout a pulse.",
        ),
    ] = 1,
    seed: Annotated[int, typer.Option("--seed", help="Seed of the noise.")] = 0,
    template: Annotated[
        _Template, typer.Option("--template", help="mni152 needs the extra epgbloch[phantom].")
    ] = _Template.analytic,
    oversampling: Annotated[
        int,
        typer.Option("--oversampling", help="Points of the phantom on each side of a pixel; slower."),
    ] = 1,
    force: Force = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Make raw data of a head phantom.

    Writes ISMRMRD data, the true maps and the protocol. The trajectory is the protocol's, or golden-angle
    radial. B1 varies if the dictionary has an axis for it.
    """
    from jobs.phantom import run_phantom

    run_phantom(
        protocol,
        out=out,
        matrix=matrix,
        n_coils=coils,
        snr=snr,
        n_repetitions=repetitions,
        seed=seed,
        template=template.value,
        oversampling=oversampling,
        force=force,
        console=Console(quiet),
    )


@app.command()
def train(
    training: Annotated[Path, typer.Argument(metavar="TRAINING", help="Training file (YAML).")],
    out: OutFolder,
    threads: Threads = None,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Train a surrogate network.

    Makes the data set first if its file does not exist. Interrupted or killed, it continues when called
    again with the same files: at most the minutes since the last checkpoint are lost. Writes weights with
    a card, and the loss curve.
    """
    from jobs.options import at_least
    from jobs.train import run_train

    at_least(1, threads=threads)
    run_train(training, out=out, threads=threads, console=Console(quiet))


@app.command()
def evaluate(
    weights: Annotated[
        str,
        typer.Argument(metavar="WEIGHTS", help="Weights of a trained network (.npz), or published, small."),
    ],
    data: Annotated[
        Path | None,
        typer.Option(
            "--data", metavar="FILE", help="Data set with signals left for tests. [default: simulate 10,000]"
        ),
    ] = None,
    out: OutFolder = Path("evaluation"),
    signals: Annotated[
        int, typer.Option("--signals", help="Signals of each kind that are simulated beside the data set.")
    ] = 100,
    threads: Threads = None,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Compare a surrogate network with the engine.

    Errors by family of trains beside the published ones, against T1 and T2, for longer and mixed trains and
    outside the ranges of the training. Writes a folder with all numbers (JSON) and figures.
    """
    from jobs.evaluate import run_evaluate
    from jobs.options import at_least

    at_least(1, signals=signals, threads=threads)
    run_evaluate(weights, data=data, out=out, threads=threads, signals=signals, console=Console(quiet))


if __name__ == "__main__":
    main()
