"""Requests made from the server's own OpenAPI document."""

from __future__ import annotations

import hypothesis
import pytest

from headpose.serve.app import create_app
from headpose.serve.settings import ServeSettings
from tests.network_files import color_network


@pytest.mark.slow
def test_answers_are_those_of_the_document(tmp_path):
    import schemathesis
    from schemathesis.checks import not_a_server_error
    from schemathesis.specs.openapi.checks import (
        content_type_conformance,
        response_schema_conformance,
        status_code_conformance,
    )

    checks = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
    network = str(color_network(tmp_path / "color.onnx"))
    app = create_app(ServeSettings(models=(network,), workers=1, megabytes=1, megapixels=2))
    document = schemathesis.openapi.from_asgi("/openapi.json", app, headers={"host": "127.0.0.1"})
    # Its plugin for pytest has its own idea of pytest's internals, so operations are run as plain Hypothesis tests.
    asked = []
    for result in document.get_all_operations():
        operation = result.ok()
        asked.append(operation.label)
        statuses = ask(operation, checks)
        assert statuses & {200, 400} and 403 not in statuses
    assert asked == ["POST /v1/estimate", "GET /v1/models", "GET /healthz", "GET /metrics"]


def ask(operation, checks):
    """Return the status codes of some requests to an operation, whose answers pass the checks."""
    statuses = set()

    @hypothesis.given(case=operation.as_strategy())
    @hypothesis.settings(max_examples=10, deadline=None, suppress_health_check=list(hypothesis.HealthCheck))
    def requests(case):
        answer = case.call(headers={"host": "127.0.0.1"})
        case.validate_response(answer, checks=checks)
        statuses.add(answer.status_code)

    requests()
    return statuses
