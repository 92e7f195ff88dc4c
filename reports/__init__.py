"""The account: tables, figures and Markdown, from result records only."""

from degradation.lazy import lazy

_NAMES = {
    "compare_runs": "reports.compare.compare",
    "load_results": "reports.load",
    "read_records": "reports.load",
    "verdict_table": "reports.verdicts.tables",
    "write_report": "reports.report",
}
__all__ = list(_NAMES)
__getattr__ = lazy(__name__, _NAMES)
