#!/usr/bin/env bash
# typer 0.29.2 beside click 8.5.1: `click.get_current_context()` inside a typer command.
# Expected: the context of the running command, as typer is built on click and its documentation long said to use it.
# Seen (2026-11-29): typer carries a click of its own (`typer._click`): click's function finds no context and raises,
# classes of the installed click are no bases of typer's parameters, and `human_readable_name` of an argument is gone.
# 0.15.4 had the installed click's. So: take the context as a parameter (`typer.Context`), which works in both.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
cat > app.py <<'PY'
import click
import typer

app = typer.Typer()


@app.command()
def main(context: typer.Context, name: str = typer.Argument("x")) -> None:
    try:
        print("click's function:", click.get_current_context() is context)
    except RuntimeError as error:
        print("click's function:", error)
    (argument,) = [one for one in context.command.params if one.name == "name"]
    print("a parameter is click's:", isinstance(argument, click.Parameter))
    print("human_readable_name:", getattr(argument, "human_readable_name", None))
    print("the context's own parameters:", context.params)


app()
PY
for version in 0.15.4 0.29.2; do
    python3 -m venv "venv-$version"
    "venv-$version/bin/pip" install -q "typer==$version" "click==$([ $version = 0.15.4 ] && echo 8.1.8 || echo 8.5.1)" 2>/dev/null
    echo "typer $version"
    "venv-$version/bin/python" app.py
done > seen

cat > expected <<'TXT'
typer 0.15.4
click's function: True
a parameter is click's: True
human_readable_name: NAME
the context's own parameters: {'name': 'x'}
typer 0.29.2
click's function: There is no active click context.
a parameter is click's: False
human_readable_name: None
the context's own parameters: {'name': 'x'}
TXT
cat seen
diff expected seen
