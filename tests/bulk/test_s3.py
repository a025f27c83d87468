"""Sources on a local S3 server."""

from __future__ import annotations

import pytest

from headpose import InputError
from headpose.bulk import sources as finding
from tests.bulk.test_sources import expected, rows_of  # noqa: F401, a fixture

server = pytest.importorskip("moto.server")
pytest.importorskip("s3fs")


@pytest.fixture(scope="module")
def bucket(sources, tmp_path_factory):
    """The sources in a bucket; configured by the environment, as users do."""
    import s3fs

    with pytest.MonkeyPatch.context() as patch:
        running = server.ThreadedMotoServer(ip_address="127.0.0.1", port=0)
        running.start()
        host, port = running.get_host_and_port()
        for name, value in (
            ("AWS_ACCESS_KEY_ID", "test"),
            ("AWS_SECRET_ACCESS_KEY", "test"),
            ("AWS_DEFAULT_REGION", "us-east-1"),
            ("AWS_ENDPOINT_URL", f"http://{host}:{port}"),
        ):
            patch.setenv(name, value)
        system = s3fs.S3FileSystem()
        system.mkdir("faces")
        system.put(str(sources), "faces/set", recursive=True)
        yield "s3://faces/set"
        running.stop()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("name", ["pictures", "set.tar", "bytes.parquet", "list.txt"])
def test_a_bucket_has_the_poses_of_its_pictures(bucket, expected, tmp_path, name):  # noqa: F811
    rows, failures = rows_of(f"{bucket}/{name}", tmp_path)
    assert failures == []
    assert [row["yaw"] for row in rows] == pytest.approx([pose["yaw"] for pose in expected], abs=1e-3)
    assert all(row["source"].startswith(bucket) for row in rows)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_video_in_a_bucket(bucket, sources, tmp_path):
    rows, failures = rows_of(f"{bucket}/clip.mp4", tmp_path / "remote", every=10)
    local, _ = rows_of(sources / "clip.mp4", tmp_path / "local", every=10)
    assert failures == []
    assert [row["yaw"] for row in rows] == [row["yaw"] for row in local] != []


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_what_is_not_in_a_bucket_is_one_line(bucket):
    with pytest.raises(InputError, match="does not exist") as caught:
        list(finding.items(f"{bucket}/nothing", lambda address: [], ""))
    assert "\n" not in str(caught.value)
