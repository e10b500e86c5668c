"""The pages of the Pathways widget: network, events, time, landscape."""

from __future__ import annotations

import html
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, cast

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QComboBox, QHBoxLayout, QLabel, QVBoxLayout, QWidget

from napari_rvae._napari import pathway_work
from napari_rvae._napari.event_list import EventList
from napari_rvae._napari.figure_view import Drawing, FigureView
from napari_rvae._napari.forms import leave_wheel
from napari_rvae._napari.panel import button
from napari_rvae._napari.words import count

if TYPE_CHECKING:
    import pandas as pd

    from napari_rvae._napari.pathway_state import Found
    from napari_rvae.analysis.landscape import LatentPath
    from napari_rvae.analysis.network import Network

__all__ = ["EventPage", "LandscapePage", "NetworkPage", "TimePage"]

#: What rates can be given per, and what time can be drawn against.
_PER = {"per frame": "frame", "per second": "second", "per dose": "dose"}
_AGAINST = {"over the frames": "frame", "over time": "time", "over the dose": "dose"}

#: Pictures in a film strip.
_PICTURES = 6

#: Height over width: of the network, of the landscape, of a panel over time, of a row of pictures.
_TALL, _SQUARE, _PANEL, _ROW = 1.55, 1.1, 0.34, 0.19


class _Page(QWidget):
    """A page that shows something of what was found."""

    failed = Signal(str)

    def __init__(self) -> None:
        super().__init__()
        self.found: Found | None = None
        self.column = QVBoxLayout(self)
        self.column.setContentsMargins(2, 6, 2, 2)

    def add_view(self, shape: float, text: str = "") -> FigureView:
        """Add a figure."""
        view = FigureView(shape, text)
        view.failed.connect(self.failed)
        self.column.addWidget(view)
        return view

    def add_row(self, *widgets: QWidget) -> None:
        """Add widgets beside one another."""
        row = QHBoxLayout()
        row.setContentsMargins(0, 0, 0, 0)
        for widget in widgets:
            row.addWidget(widget, 0 if isinstance(widget, QLabel) else 1)
        self.column.addLayout(row)


def _choice(names: list[str], tip: str, on_change: Callable[[], Any]) -> QComboBox:
    box = QComboBox()
    box.addItems(names)
    box.setToolTip(tip)
    box.setMinimumWidth(60)
    box.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
    leave_wheel(box)
    box.currentIndexChanged.connect(lambda _index: on_change())
    return box


def _text() -> QLabel:
    label = QLabel()
    label.setWordWrap(True)
    return label


# ---------------------------------------------------------------------- network
class NetworkPage(_Page):
    """States as pictures, rates as arrows; notes of what must be known to read them."""

    state_chosen = Signal(str, int)
    rate_chosen = Signal(str, int, int)

    def __init__(self) -> None:
        super().__init__()
        self.kind = _choice(["atoms", "places"], "States of dopant atoms, or of places", self._draw)
        self.per = _choice(list(_PER), "What the rates are given per", self._draw)
        self.add_row(self.kind, self.per)
        self.view = self.add_view(_TALL)
        self.view.setToolTip(
            "Click a picture to select the sites of a state, an arrow to list its events"
        )
        self.view.hit.connect(self._on_hit)
        self.notes = _text()
        self.column.addWidget(self.notes)
        self.column.addStretch(1)
        self._network: Network | None = None

    def tracked(self) -> Literal["atom", "place"]:
        """Whose states are shown."""
        return "atom" if self.kind.currentIndex() == 0 else "place"

    def show_found(self, found: Found | None) -> None:
        """Show the pathways of a layer."""
        self.found = found
        if found is not None:
            kinds = set(found.pathways.states["tracked"])
            if self.tracked() not in kinds and kinds:
                self.kind.setCurrentIndex(1 - self.kind.currentIndex())  # draws, too
            notes = [html.escape(str(note)) for note in found.pathways.notes["note"]]
            self.notes.setText("<br>".join(f"• {note}" for note in notes))
        self._draw()

    def rate_text(self, from_state: int, to_state: int) -> str:
        """Rate of a change with its interval in words, "" where it is not shown."""
        if self._network is None:
            return ""
        edges, nodes = self._network.edges, self._network.nodes.set_index("state")["name"]
        mine = (edges["from_state"] == from_state) & (edges["to_state"] == to_state)
        if not mine.any():
            return ""
        ends = f"{nodes[from_state]} to {nodes[to_state]}"
        return f"{ends}: {edges.loc[mine, 'text'].iloc[0]} {self._network.per}; "

    def _draw(self) -> None:
        self._network = None
        found = self.found
        if found is None:
            self.view.show_drawing(None)
            return
        from napari_rvae.analysis.network import pathway_network
        from napari_rvae.errors import InputError

        per = cast("Literal['frame', 'second', 'dose']", _PER[self.per.currentText()])
        try:
            network = pathway_network(found.pathways, tracked=self.tracked(), per=per)
        except InputError as error:
            self.view.show_text(str(error))
            return
        self._network = network
        self.view.show_drawing(partial(_network_drawing, network, found))

    def _on_hit(self, row: int) -> None:
        drawing = self.view.drawing
        if drawing is None or drawing.targets is None:
            return
        state, one, two = (
            int(drawing.targets[name].iloc[row]) for name in ("state", "from_state", "to_state")
        )
        if state >= 0:
            self.state_chosen.emit(self.tracked(), state)
        else:
            self.rate_chosen.emit(self.tracked(), one, two)


def _network_drawing(
    network: Network, found: Found, width: float, height: float, theme: Any
) -> Drawing:
    from napari_rvae.figures.networks import network_figure, network_targets

    figure = network_figure(network, found.cards, theme=theme, size=(width, height))
    return Drawing(figure, network_targets(figure, network))


# ---------------------------------------------------------------------- events
class EventPage(_Page):
    """The list of events, and the chosen one frame by frame."""

    all_wanted = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.about = _text()
        self.all = button("Show all", "List all events again", self.all_wanted.emit)
        self.add_row(self.about, self.all)
        self.list = EventList()
        self.column.addWidget(self.list)
        self.view = self.add_view(2 * _ROW, "")
        self.view.hide()
        self.column.addStretch(1)

    def show_found(self, found: Found | None) -> None:
        """Show the events of a layer."""
        self.found = found
        self.view.hide()
        if found is not None:
            self.show_some(found.pathways.events)

    def show_some(self, events: pd.DataFrame) -> None:
        """List some of the events."""
        total = 0 if self.found is None else len(self.found.pathways.events)
        self.list.show_events(events)
        self.all.setVisible(len(events) < total)
        self.about.setText(
            f"{count(len(events), 'event')}"
            + (f" of {total:,}" if len(events) < total else "")
            + ("; click one to see it" if len(events) else "")
        )

    def show_event(self, found: Found, label: int) -> None:
        """Show the decoded pictures and crops of an event from frame to frame."""
        self.view.setVisible(found.model is not None)
        self.view.show_drawing(
            None if found.model is None else partial(_event_drawing, found, label)
        )


def _event_drawing(found: Found, label: int, width: float, _height: float, theme: Any) -> Drawing:
    from napari_rvae.errors import InputError
    from napari_rvae.figures.landscapes import film_figure

    made = pathway_work.event_strip(found, label)
    if made is None:
        raise InputError("The site of this event has no latents in two frames: there is no film.")
    event = found.pathways.events.loc[label]
    title = f"Frame by frame: {event['from_name']} to {event['to_name']}"
    strip, frames = made
    labels = [str(frame) for frame in frames]
    return Drawing(film_figure(strip, title=title, labels=labels, theme=theme, width=width))


# ---------------------------------------------------------------------- time
class TimePage(_Page):
    """Shares of units and order parameters; a click sets the frame."""

    frame_chosen = Signal(int)

    def __init__(self) -> None:
        super().__init__()
        self.against = _choice(list(_AGAINST), "What to draw against", self._draw)
        self.add_row(self.against)
        self.names = _text()
        self.view = self.add_view(1.0)
        self.view.setToolTip("Click to go to a frame. Bands: 95 %, of changes over the movie")
        self.view.hit.connect(self._on_hit)
        self.column.addWidget(self.names)
        self.column.addStretch(1)

    def show_found(self, found: Found | None) -> None:
        """Show the order parameters of a layer."""
        self.found = found
        self._draw()

    def _draw(self) -> None:
        found = self.found
        if found is None or found.order is None:
            self.view.show_drawing(None)
            return
        from napari_rvae.figures.pathway_files import default_quantities

        names = default_quantities(found.order, found.cards)
        panels = len([name for name in names if not name.startswith("unit ")]) + 1
        self.view.set_shape(_PANEL * (panels + 0.7) + 0.1)
        shown = [card for card in found.cards if f"unit {card.unit}" in names]
        self.names.setText(
            "Shares of the units but the largest:<br>"
            + "<br>".join(
                f'<span style="color: {card.color};">■</span> {html.escape(card.name)}'
                for card in shown
            )
        )
        against = _AGAINST[self.against.currentText()]
        self.view.show_drawing(partial(_order_drawing, found, names, against))

    def _on_hit(self, row: int) -> None:
        drawing = self.view.drawing
        if drawing is not None:
            self.frame_chosen.emit(list(drawing.marks)[row])


def _order_drawing(
    found: Found, names: list[str], against: Any, width: float, height: float, theme: Any
) -> Drawing:
    from napari_rvae.figures.networks import order_figure, order_targets

    assert found.order is not None  # noqa: S101 - the page has looked
    figure = order_figure(
        found.order,
        names,
        against=against,
        colors={f"unit {card.unit}": card.color for card in found.cards},
        labels={f"unit {card.unit}": card.name for card in found.cards},
        theme=theme,
        size=(width, height),
    )
    clock = found.order.drop_duplicates("frame").sort_values("frame")
    targets = order_targets(figure, clock[against].tolist())
    marks = dict(zip(clock["frame"].astype(int), targets["x"], strict=True))
    reach = float(targets["top"].iloc[0]), float(targets["bottom"].iloc[0])
    return Drawing(figure, targets[["x"]], marks, reach)


# ---------------------------------------------------------------------- landscape
class LandscapePage(_Page):
    """Where sites are among the decoded pictures, and a way between two units.

    Parameters
    ----------
    measure
        What the button does.
    """

    site_chosen = Signal(int)

    def __init__(self, measure: Callable[[], Any]) -> None:
        super().__init__()
        self.measure = button(
            "Measure landscape", "Compare the decoded pictures of the sites", measure
        )
        self.column.addWidget(self.measure)
        self.start = _choice([], "Where the way begins", self._draw)
        self.end = _choice([], "Where the way ends", self._draw)
        self.add_row(QLabel("From"), self.start, QLabel("to"), self.end)
        self.about = _text()
        self.column.addWidget(self.about)
        self.view = self.add_view(_SQUARE, "Not measured yet")
        self.view.setToolTip("Click to go to a site that looks like this")
        self.view.hit.connect(self._on_hit)
        self.film = self.add_view(2 * _ROW, "")
        self.column.addStretch(1)
        self._shown: Any = None
        self._path: LatentPath | None = None

    def path(self) -> LatentPath | None:
        """The way that is shown, None where there is none."""
        return self._path

    def show_found(self, found: Found | None) -> None:
        """Show the landscape of a layer, where it was measured."""
        shown = (found, None if found is None else found.terrain)
        if self._shown is not None and all(
            one is two for one, two in zip(shown, self._shown, strict=True)
        ):
            return
        self._shown, self.found = shown, found
        cards = () if found is None else found.cards
        for number, box in enumerate((self.start, self.end)):
            box.blockSignals(True)  # noqa: FBT003 - Qt's own
            box.clear()
            for card in cards:
                box.addItem(f"{card.unit}  {card.name}", card.unit)
            box.setCurrentIndex(min(number, len(cards) - 1))
            box.blockSignals(False)  # noqa: FBT003
        self._draw()

    def _draw(self) -> None:
        found = self.found
        terrain = None if found is None else found.terrain
        self._path = None
        self.about.setVisible(terrain is not None)
        self.film.setVisible(False)
        if found is None or terrain is None:
            self.view.show_drawing(None)
            return
        start, end = self.start.currentData(), self.end.currentData()
        if start is not None and end is not None:
            self._path = pathway_work.way_between(found, int(start), int(end))
        self.about.setText(_way_text(self._path))
        self.view.show_drawing(partial(_landscape_drawing, found, self._path))
        if self._path is not None:
            self.film.setVisible(True)
            self.film.set_shape((2 if found.crops is not None else 1) * _ROW + 0.2)
            self.film.show_drawing(partial(_way_drawing, found, self._path))

    def _on_hit(self, row: int) -> None:
        drawing = self.view.drawing
        if drawing is not None and drawing.targets is not None:
            self.site_chosen.emit(int(drawing.targets["site_id"].iloc[row]))


def _way_text(path: LatentPath | None) -> str:
    """Say how far it is."""
    if path is None:
        return "Choose two different units for a way between them."
    text = f"The way over {count(len(path.z), 'node')} is {path.length:.0f} long (noise = 1)"
    if path.bridged:
        text += f"; it leads over a gap of {path.largest_step:.0f} where no site is."
    else:
        text += f", its longest step {path.largest_step:.0f}."
    return f"{text} Between rare units another training may lead it by other pictures."


def _landscape_drawing(
    found: Found, path: LatentPath | None, width: float, height: float, theme: Any
) -> Drawing:
    from napari_rvae.figures.landscapes import landscape_figure, landscape_targets

    terrain = found.terrain
    assert terrain is not None  # noqa: S101 - the page has looked
    figure = landscape_figure(
        terrain.landscape,
        found.cards,
        paths=() if path is None else (path,),
        passages=terrain.passages,
        theme=theme,
        size=(width, height),
    )
    return Drawing(figure, landscape_targets(figure, terrain.landscape.sites))


def _way_drawing(
    found: Found, path: LatentPath, width: float, _height: float, theme: Any
) -> Drawing:
    from napari_rvae.figures.landscapes import film_figure

    strip = pathway_work.way_strip(found, path, _PICTURES)
    return Drawing(film_figure(strip, theme=theme, width=width))
