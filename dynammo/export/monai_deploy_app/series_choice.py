"""Which series are classified: the rules of `app.yaml`, by the SDK's selector."""

import json
from typing import Any

from bundle_checks import Bundle
from monai.deploy.operators.dicom_series_selector_operator import DICOMSeriesSelectorOperator

from dynammo.errors import UserError

__all__ = ["SeriesChoice"]


class SeriesChoice(DICOMSeriesSelectorOperator):  # type: ignore[misc]  # the SDK is untyped
    """Chooses every series that a rule matches, once, and refuses a folder without any.

    Args:
        bundle: names the modalities of the model.
        settings: `modalities` (such as [CR, DX]) wins over the bundle's; `selections`, rules of the SDK, win over both.
    """

    def __init__(self, *args: Any, bundle: Bundle, settings: dict[str, Any], **kwargs: Any) -> None:  # noqa: ANN401
        self.modalities = tuple(settings.get("modalities") or bundle.modalities)
        rules = settings.get("selections") or _rules(self.modalities)
        super().__init__(*args, rules=json.dumps({"selections": rules}) if rules else "", all_matched=True, **kwargs)

    def filter(self, selection_rules: Any, dicom_study_list: Any, *args: Any, **kwargs: Any) -> list[Any]:  # noqa: ANN401
        """The series of each study that match.

        Raises:
            UserError: there is none.
        """
        chosen: list[Any] = super().filter(selection_rules, dicom_study_list, *args, **kwargs)
        if not any(study.selected_series for study in chosen):
            there = {str(s.Modality or "no name") for study in dicom_study_list for s in study.get_all_series()}
            wanted = ", ".join(self.modalities) if self.modalities else "what app.yaml selects"
            raise UserError(
                f"no series in the input folder is one for this model: there are images of the modality "
                f"{', '.join(sorted(there)) or 'no name'}, expected {wanted}; give other images, or "
                "change app.yaml if the model was trained on such images."
            )
        return chosen


def _rules(modalities: tuple[str, ...]) -> list[dict[str, Any]]:
    if not modalities:
        return []
    return [{"name": "images of the model's modality", "conditions": {"Modality": f"^({'|'.join(modalities)})$"}}]
