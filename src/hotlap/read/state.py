"""What has been read so far of all logs of one training."""

from __future__ import annotations

from hotlap.read.bars import Bars
from hotlap.read.formats import FORMATS
from hotlap.read.lines import Text
from hotlap.read.remarks import Remarks
from hotlap.read.timing import Timings
from hotlap.read.tracks import Track
from hotlap.records import LogSource


class State:
    def __init__(self) -> None:
        self.tracks: dict[str, Track] = {}
        self.bars = Bars()
        self.timings = Timings()
        self.remarks = Remarks()
        self.sources: list[LogSource] = []

    @property
    def understood(self) -> bool:
        return any(source.formats for source in self.sources)

    def read(self, text: Text, name: str) -> None:
        for track in self.tracks.values():
            track.begin_file()
        before, repeated = self._lines(), self._repeated()
        for block in text.blocks():
            self._feed(block)
        self.timings.end_file()
        after = self._lines()
        self.sources.append(
            LogSource(
                name=name,
                bytes=text.bytes,
                lines=text.lines,
                formats={each: more for each in after if (more := after[each] - before.get(each, 0))},
                repeated=self._repeated() - repeated,
                notes=text.notes,
            )
        )

    def _feed(self, text: bytes) -> None:
        text = self.timings.feed_blocks(text)
        for form in FORMATS:
            if form.key in text:
                track = self.tracks.get(form.name) or Track(form)
                text = track.feed(text)
                if track.lines:
                    self.tracks[form.name] = track
        for each in (self.bars, self.timings, self.remarks):
            text = each.feed(text)

    def _lines(self) -> dict[str, int]:
        lines = {name: track.lines for name, track in self.tracks.items()}
        lines |= {"progress bar": self.bars.lines, "timing": self.timings.lines, "remarks": self.remarks.lines}
        return lines

    def _repeated(self) -> int:
        return sum(track.order.repeated for track in self.tracks.values())
