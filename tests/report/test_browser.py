import pytest

from headpose.cli import main
from tests.programs.chromium import open_browser, outside_requests


@pytest.mark.browser
@pytest.mark.parametrize("width", [360, 1200])
def test_a_phone_and_a_desk_show_the_report(results, tmp_path, width):
    out = tmp_path / "out"
    assert main(["report", str(results[0]), "--out", str(out), "--data", str(results[1])]) == 0
    with open_browser(tmp_path / "profile", tmp_path / "no-camera.y4m", height=900) as browser:
        screen = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 600}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
        browser.get((out / "report.html").as_uri())
        # Wide tables scroll in their own frame, never the page.
        assert browser.execute_script("return document.documentElement.scrollWidth") <= width
        broken = "return [...document.images].filter(i => !i.complete || !i.naturalWidth).map(i => i.alt)"
        assert browser.execute_script(broken) == []
        text = "return parseFloat(getComputedStyle(document.querySelector('td')).fontSize)"
        assert browser.execute_script(text) >= 12
        assert outside_requests(browser) == []
