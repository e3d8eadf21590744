"""What is written of a prediction: the mask, and other results that a package above this one makes.

    Results.files(output)          the names of one scan's files
    Results.save(prediction, ...)  writes them: the summary first, the last of the files at the end

So a run that is killed leaves no last file, and is known to be unfinished.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from embedded_vit.contract import Contract
from embedded_vit.errors import EmbeddedVitError
from embedded_vit.io.atomic import refuse_existing
from embedded_vit.io.mask_file import (
    check_dicom_name,
    check_mask_name,
    is_our_summary,
    probabilities_path,
    result_path,
    summary_path,
)
from embedded_vit.io.scan_source import ScanSource
from embedded_vit.predict.predictor import Prediction

__all__ = ["Result", "Results"]


class Result(ABC):
    """A file that is made of a prediction, beside the mask or in its place.

    Attributes:
        ending: Of its name, before the suffix: `_seg` for `case_seg.dcm`.
    """

    ending: ClassVar[str]

    @abstractmethod
    def check(self, source: ScanSource) -> list[str]:
        """Refuse a scan that there can be no such file of, before it is segmented; return remarks, a sentence each.

        Raises:
            EmbeddedVitError: Why there can be none, and what to do.
        """

    @abstractmethod
    def write(self, path: Path, prediction: Prediction, contract: Contract) -> None:
        """Write the file, over what is there.

        Args:
            path: The file.
            prediction: With the scan that it was made of, kept.
            contract: Of the model.

        Raises:
            EmbeddedVitError: It cannot be made or written.
        """


@dataclass(frozen=True)
class Results:
    """The files that are written of each prediction.

    Attributes:
        mask: Whether the mask is one of them.
        others: What else is.
        probabilities: Whether the probabilities of every voxel are, beside the mask.
    """

    mask: bool = True
    others: Sequence[Result] = ()
    probabilities: bool = False

    def check(self, source: ScanSource) -> list[str]:
        """Refuse a scan before it is segmented; as `Result.check`."""
        return list(dict.fromkeys(remark for result in self.others for remark in result.check(source)))

    def check_name(self, output: Path, *, picture: bool) -> None:
        """Refuse the name of an output that does not go with the scan and with these results.

        Raises:
            OutputError: It does not.
        """
        if self.mask:
            check_mask_name(output, picture=picture)
        else:
            check_dicom_name(output)

    def name(self, mask_path: Path) -> Path:
        """Return the name of the first of a scan's results in a folder, by the name of its mask."""
        return mask_path if self.mask else result_path(mask_path, self.others[0].ending)

    def files(self, output: Path) -> list[Path]:
        """Return the files of one scan, in the order in which they are written.

        Args:
            output: The mask; or, where no mask is written, the only file.
        """
        if not self.mask:
            return [output]
        probabilities = [probabilities_path(output)] if self.probabilities else []
        return [*(result_path(output, result.ending) for result in self.others), *probabilities, output]

    def refuse_existing(self, output: Path) -> None:
        """Refuse to write over files, but for those that a killed run left.

        Raises:
            OutputError: One is there.
        """
        *others, last = self.files(output)
        refuse_existing(last)
        if not is_our_summary(summary_path(output)):
            for path in (*others, summary_path(output)):
                refuse_existing(path)

    def save(self, prediction: Prediction, output: Path, contract: Contract) -> None:
        """Write all files of a scan.

        Args:
            prediction: With its scan kept, where there are other results than the mask.
            output: As `files`.
            contract: Of the model.

        Raises:
            EmbeddedVitError: As `Prediction.save` and `Result.write`.
        """
        if self.others:
            prediction.save_summary(output)
            written = [summary_path(output)]
            try:
                for result, path in zip(self.others, self.files(output), strict=False):
                    result.write(path, prediction, contract)
                    written.append(path)
            except EmbeddedVitError:
                for path in written:
                    path.unlink(missing_ok=True)
                raise
        if self.mask:
            prediction.save(output)
