"""Shows how landmarks are packed and how well vectors are found; packs, and looks for damage."""

from typing import Annotated, Any

import typer

from fingerprintdb.cli.output import JsonLines, print_json, print_table, say
from fingerprintdb.cli.page import Commands, examples
from fingerprintdb.cli.setup import open_ready

FOUND_DAMAGE = 1


index = Commands(
    name="index",
    help="The landmark index: status, compact, check; the vector index: recall.",
)


@index.command()
@examples(
    ("fpdb index status", "A table."),
)
def status(context: typer.Context, as_json: JsonLines = False) -> None:
    """Show runs, sizes, what waits to be packed, what is dead, and what to do.

    Only reads.
    """
    from fingerprintdb.store.database import connect
    from fingerprintdb.store.index import index_status

    with connect(open_ready(context.obj.settings)) as connection:
        found = index_status(connection)
    if as_json:
        print_json(found)
        return
    print_table(("what", "value"), found.items())


@index.command()
@examples(
    ("fpdb index compact", "Until nothing is due."),
)
def compact(context: typer.Context, as_json: JsonLines = False) -> None:
    """Pack what is new and merge what is due, in short steps beside everything else.

    Workers and `fpdb ingest` do it by themselves. Searches and workers go on meanwhile and find the
    same; stopped halfway, it goes on another time.
    """
    from fingerprintdb.store.database import connect
    from fingerprintdb.store.index import compact as steps

    with connect(open_ready(context.obj.settings)) as connection:
        done = False
        for step in steps(connection):
            done = True
            if as_json:
                print_json(step)
            else:
                say(f"{step['action']}: {step['postings'] or 0:,} postings", to_stderr=False)
    if not done and not as_json:
        say("nothing to do", to_stderr=False)


@index.command()
@examples(
    ("fpdb index check", "After a disk failed, or a backup was restored."),
)
def check(context: typer.Context, as_json: JsonLines = False) -> None:
    """Read the whole packed index and say what is damaged: exit status 1 if anything is.

    Changes nothing; names the assets to reprocess.
    """
    from fingerprintdb.store.database import connect
    from fingerprintdb.store.index import check_index

    with connect(open_ready(context.obj.settings)) as connection:
        found = check_index(connection)
    if as_json:
        for row in found:
            print_json(row)
    elif found:
        print_table(("run", "problem", "assets"), map(_damage, found))
        say("`fpdb reprocess ASSET_ID…` fingerprints these assets again")
    else:
        say("the index is whole", to_stderr=False)
    if found:
        raise typer.Exit(FOUND_DAMAGE)


@index.command()
@examples(
    ("fpdb index recall", "At the values that come by default."),
    ("fpdb index recall --ef-search 100,200 --samples 500 --k 20", "At yours."),
)
def recall(
    context: typer.Context,
    ef_search: Annotated[
        str, typer.Option(help="Values of hnsw.ef_search to try, with commas.", metavar="N,…")
    ] = "10,40,100,400",
    samples: Annotated[int, typer.Option(help="Stored vectors to ask.", min=1)] = 100,
    k: Annotated[int, typer.Option("--k", "-k", help="Neighbours of each.", min=1, max=1000)] = 10,
    as_json: JsonLines = False,
) -> None:
    """Compare the vector index with an exact scan: the share of true neighbours that it finds.

    Only reads, but an exact scan reads every vector.
    """
    values = _numbers(ef_search)
    from fingerprintdb.store.database import connect
    from fingerprintdb.store.index import index_recall

    with connect(open_ready(context.obj.settings)) as connection:
        found = [
            {"ef_search": value} | index_recall(connection, value, samples=samples, k=k)
            for value in values
        ]
    if not found[0]["asked"]:
        say("no vectors are stored with neighbours to find: `fpdb ingest` brings recordings in")
        raise typer.Exit(1)
    if as_json:
        for row in found:
            print_json(row)
        return
    print_table(
        ("ef_search", f"recall@{k}", "worst", "index ms", "exact ms", "vectors"),
        (
            (
                row["ef_search"],
                f"{100 * row['recall']:.1f} %",
                f"{100 * row['worst']:.0f} %",
                row["index_ms"],
                row["exact_ms"],
                row["vectors"],
            )
            for row in found
        ),
    )


def _numbers(text: str) -> list[int]:
    values = [int(part) if part.strip().isdecimal() else 0 for part in text.split(",")]
    if not all(1 <= value <= 1000 for value in values):
        raise typer.BadParameter("--ef-search takes numbers from 1 to 1000, with commas")
    return values


def _damage(found: dict[str, Any]) -> tuple[Any, ...]:
    assets = found["asset_ids"] or []
    listed = ", ".join(map(str, assets[:10])) + (" …" if len(assets) > 10 else "")
    return found["run_id"], found["problem"], listed
