"""The layout of custom scalars, as its plugin reads it and as it finds the curves."""

import json
import warnings

import pytest
from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
from tensorboard.context import RequestContext
from tensorboard.plugins.base_plugin import TBContext

from recipes.shared.tensorboard_logging import layout, summaries
from recipes.shared.tensorboard_logging.event_files import EventFiles

with warnings.catch_warnings(action="ignore", category=DeprecationWarning):  # of what TensorBoard brings along
    from tensorboard.plugins.custom_scalar.custom_scalars_plugin import CustomScalarsPlugin
    from tensorboard.plugins.scalar.scalars_plugin import ScalarsPlugin


class Page:
    """What the tab Custom scalars gets of a folder."""

    def __init__(self, folder):
        multiplexer = EventMultiplexer().AddRunsFromDirectory(str(folder))
        multiplexer.Reload()
        provider = MultiplexerDataProvider(multiplexer, str(folder))
        plugins = {}
        context = TBContext(data_provider=provider, plugin_name_to_instance=plugins, logdir=str(folder))
        plugins["scalars"] = ScalarsPlugin(context)
        self.plugin = CustomScalarsPlugin(context)

    @property
    def charts(self):
        """The regular expressions of each chart by its title, in the order of the page."""
        (category,) = json.loads(self.plugin.layout_impl(RequestContext(), ""))["category"]
        assert category["title"] == "fit and custom loop"
        charts = category.get("chart", [])
        assert len({chart["title"] for chart in charts}) == len(charts)
        return {chart["title"]: chart["multiline"]["tag"] for chart in charts}

    def tags(self, run, expression):
        """The tags whose curves a chart has of a run."""
        found = self.plugin.scalars_impl(RequestContext(), run, expression, "")
        assert found["regex_valid"]
        return set(found["tag_to_events"])


@pytest.fixture
def write(tmp_path):
    """A function that writes the layout of a run with some metrics, and points under `tags`."""

    def write(run, names, tags=()):
        files = EventFiles(tmp_path / run)
        files.write("", 0, [layout.overlay(names)])
        files.write("train", 1, summaries.scalars(dict.fromkeys(tags, 0.5)))
        files.close()
        return Page(tmp_path)

    return write


def test_there_is_a_chart_for_each_metric_in_their_order(write):
    assert list(write("fit", ["loss", "auc", "accuracy"]).charts) == ["loss", "auc", "accuracy"]


HOSTILE = ["loss", "loss.2", "top-5 (%)", "a+b", "[x]", "two words", "$^", "größe"]


@pytest.mark.parametrize("name", HOSTILE)
def test_a_chart_shows_its_own_metric_and_no_other(write, name):
    own = f"epoch_{name}"
    others = [f"{own}_2", f"val_{own}", f"step_{name}", "epoch_lossx2", "epoch_", "epoch_b", "epoch_aab"]
    page = write("fit", [name], [own, *others])
    (expression,) = page.charts[name]
    assert page.tags("fit/train", expression) == {own}


def test_charts_of_one_title_are_one_chart_for_all_runs(write):
    write("one/fit", ["loss", "accuracy"])
    write("one/custom_loop", ["loss", "accuracy"])
    page = write("other/fit", iter(["loss", "mae"]))
    assert sorted(page.charts) == ["accuracy", "loss", "mae"]
    assert all(len(expressions) == 1 for expressions in page.charts.values())


def test_a_run_without_metrics_has_no_charts(write):
    assert write("fit", []).charts == {}
