"""`comptroller run`: workflows, checked before they run."""

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from comptroller.commands.options import AdminUrl, Config, DataDir, Json
from comptroller.commands.outcome import told
from comptroller.commands.output import Column, field, show_rows
from comptroller.commands.run_inputs import FileArgument, workflow_in

if TYPE_CHECKING:
    from pathlib import Path

    from comptroller.settings import Settings
    from comptroller.workflow_files import WorkflowFile
    from gateway.routing_rules import FailureKind
    from orchestrator.forecast import CallCeiling, Forecast

app = typer.Typer(no_args_is_help=True, help="Workflows: DAGs of steps, each on its own budget.")


@app.command("check")
@told()
def check_command(  # options of a command
    file: FileArgument,
    config: Config = None,
    organisation: Annotated[
        str, typer.Option(help="Whose runs tell what one has cost; else all there are.")
    ] = "",
    admin_url: AdminUrl = "",
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Check a workflow: its graph, what a run can cost at most, and, where a stack runs that knows,
    what runs of it have cost. Exits 2 where it cannot run."""
    from comptroller.commands.check import loaded
    from comptroller.commands.known_costs import known_costs, with_costs

    settings, _ = loaded(config)
    models = {each.name for each in settings.models} | {*settings.router.aliases}
    found = workflow_in(file, models, f" --config {config}" if config else "")
    costs = known_costs(found.workflow.name, organisation, admin_url, data_dir)
    document = with_costs(checked(found, call_ceiling(settings)), costs)
    if as_json:
        typer.echo(json.dumps(document))
        return
    has_run = bool(document["runs"])
    show_rows(document["steps"], (*_COLUMNS, *_COST) if has_run else _COLUMNS, as_json=False)
    ceiling = document["ceiling_usd"]
    typer.echo(f"longest chain: {' -> '.join(document['critical_path'])}", err=True)
    most = f"at most {ceiling} usd" if ceiling else "what its other limits leave: none is in usd"
    typer.echo(f"a run costs {most}", err=True)
    if has_run:
        half, most = document["p50_usd"], document["p95_usd"]
        typer.echo(
            f"runs that are done ({document['runs']}): half have cost at most {half} usd, 95% at "
            f"most {most} usd",
            err=True,
        )


@app.command("schema")
@told()
def schema_command(as_json: Json = False) -> None:
    """Print the JSON Schema of a workflow, for an editor or a program."""
    from orchestrator.schema import json_schema

    typer.echo(json.dumps(json_schema(), indent=None if as_json else 2))


def checked(found: "WorkflowFile", ceiling: "CallCeiling") -> dict[str, Any]:
    """What a check says, as JSON has it."""
    from orchestrator.graph import StepGraph
    from pricing import dollars

    workflow = found.workflow
    graph = StepGraph(workflow.steps)
    foreseen = _foreseen(found, ceiling, {})
    level_of = {name: n for n, layer in enumerate(graph.layers(), 1) for name in layer}

    def amount(nusd: int | None) -> dict[str, Any]:
        return {"ceiling_nusd": nusd, "ceiling_usd": None if nusd is None else dollars(nusd)}

    steps = [
        {
            "id": step.id,
            "kind": step.action.kind,
            "level": level_of[step.id],
            "needs": list(step.needs),
            "foreach": step.foreach is not None,
            **amount(each.ceiling_nusd),
            "bound_by": each.bound_by,
        }
        for step, each in zip(workflow.steps, foreseen.steps, strict=True)
    ]
    return {
        "name": workflow.name,
        "version": workflow.version,
        "steps": sorted(steps, key=lambda row: level_of[str(row["id"])]),
        "critical_path": graph.critical_path(lambda _: 1),
        **amount(foreseen.ceiling_nusd),
    }


def _foreseen(
    found: "WorkflowFile", ceiling: "CallCeiling", known: "dict[Path, Forecast]"
) -> "Forecast":
    """`known`: what is started by many is looked at once."""
    from orchestrator.forecast import forecast

    if found.path not in known:
        inside = {
            name: _foreseen(each, ceiling, known).ceiling_nusd
            for name, each in found.inside.items()
        }
        known[found.path] = forecast(found.workflow, ceiling, inside)
    return known[found.path]


def call_ceiling(settings: "Settings") -> "CallCeiling":
    """The dearest single call of a model of the configuration, at whichever deployment, or at those
    of its fallbacks."""
    from gateway.route_prices import RoutePrices
    from pricing import QuoteTooLarge, quote

    def ceiling(model: str, cap: int | None) -> int | None:
        found = []
        names = _answering(settings, model)
        for entry in (each for each in settings.models if each.name in names):
            price = RoutePrices(entry.price, entry.sheet, entry.default_tier).quoted("")
            wanted = price.max_output_tokens if cap is None else cap
            try:
                dearest = quote(
                    price,
                    price.max_input_tokens,
                    output_tokens_wanted=wanted,
                    output_tokens_least=0,
                    n=1,
                )
            except QuoteTooLarge:
                return None
            found.append(dearest.ceiling_nusd(dearest.output_tokens_max))
        return max(found, default=None)

    return ceiling


def _answering(settings: "Settings", model: str) -> set[str]:
    """The model, and those that may answer in its place."""
    router = settings.router
    name = router.aliases.get(model, model)
    names = {name}
    kinds: tuple[FailureKind, ...] = ("failed", "too_long", "against_policy")
    for kind in kinds:
        names |= {router.aliases.get(each, each) for each in router.rules.fallbacks_of(name, kind)}
    return names


_BOUND_BY = {"calls": "its calls", "budget": "its budget", "run": "the run's budget"}
_COLUMNS = (
    field("id", "step"),
    field("kind"),
    field("level", is_number=True),
    field("needs"),
    Column("each", lambda row: "of a list" if row["foreach"] else ""),
    field("ceiling_usd", "usd at most", is_number=True),
    Column("bound by", lambda row: _BOUND_BY.get(row["bound_by"], "")),
)
_COST = (
    field("p50_usd", "usd p50", is_number=True),
    field("p95_usd", "usd p95", is_number=True),
)
