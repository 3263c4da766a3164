"""JupyterLab on the notebooks, opening on 00_index beside the table of contents; options are those of ``jupyter lab``.

Nothing is saved unless one says so (Ctrl+S), since 'Run All' changes stored outputs; one's own settings stay in force.
"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SETTINGS = ROOT / "workflow" / "lab"
WORKSPACES = ROOT / "runs" / ".lab"  # what was open is found again, apart from other projects' workspaces


def prepare(workspaces):
    """Lay out the first session: the table of contents on the left, 00_index open; later ones are as they were left."""
    from jupyterlab_server.workspaces_handler import WorkspacesManager

    manager = WorkspacesManager(str(workspaces))
    if not manager.list_workspaces():
        manager.save("default", (SETTINGS / "workspace.json").read_text())


def main(options):
    """Start JupyterLab and stay until it is stopped."""
    from jupyterlab.labapp import LabApp

    prepare(WORKSPACES)
    LabApp.launch_instance(
        [
            f"--ServerApp.root_dir={ROOT}",
            f"--LabApp.app_settings_dir={SETTINGS}",
            f"--LabApp.workspaces_dir={WORKSPACES}",
            "--LabApp.default_url=/lab/tree/notebooks/00_index.ipynb",
            *options,
        ]
    )


if __name__ == "__main__":
    main(sys.argv[1:])
