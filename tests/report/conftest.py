import pytest

from tests.report.results_folder import write_results


@pytest.fixture
def results(tmp_path):
    """A folder of results, and that of the faces."""
    return write_results(tmp_path)
