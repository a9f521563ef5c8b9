"""MMEngine's runner, which keeps the configs that it finds."""

from pathlib import Path

from mmengine import runner as mmengine_runner

from stt_mm.registry import RUNNERS


@RUNNERS.register_module()
class Runner(mmengine_runner.Runner):
    """Writes the merged config into the work directory, but not onto the config it was read from, nor, in a test, onto
    that of a training. A copy goes to ``<time>/vis_data/config.py`` in any case.
    """

    def dump_config(self) -> None:
        """Called by MMEngine when the runner is built; on rank 0 it writes ``<work_dir>/<name of the config>``."""
        source = None if self.cfg.filename is None else Path(self.cfg.filename)
        target = None if source is None else Path(self.work_dir, source.name)
        if target is None or not target.exists() or self.cfg.get('train_cfg') and not target.samefile(source):
            super().dump_config()
