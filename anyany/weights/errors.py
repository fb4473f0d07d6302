"""The one error of the weights package, and the catalogue lines of its codes E451 to E479.

Every failure a user can cause or meet ends here: what happened, and an action that helps.
"""

from __future__ import annotations

CODES: dict[str, str] = {
    "E451": "A weights string is not of a known form.",
    "E452": "A bundle: source names a namespace or folder that no installed plugin ships.",
    "E453": "A weights file or folder is not there or cannot be read.",
    "E454": "A weights folder or repository holds no weights file, or several that do not belong together.",
    "E455": "The weights are a pickle; only safetensors are read unless pickles are allowed.",
    "E456": "A file is not safetensors, or its header is corrupt.",
    "E457": "A safetensors file is truncated, or longer than its header says.",
    "E458": "A sharded checkpoint's index and its shards disagree.",
    "E459": "Tensors are missing, unexpected or of another shape than the component's.",
    "E460": "An overlay does not fit the weights below it.",
    "E461": "A LoRA adapter cannot be merged.",
    "E462": "An asset (config.json, tokenizer.json, ...) is missing or malformed.",
    "E463": "A fact of the weights has an unusable value.",
    "E464": "The hub has no such repository, or it is private.",
    "E465": "The hub's repository has no such file.",
    "E466": "The hub's repository is gated, or the token does not open it.",
    "E467": "The hub's repository has no such commit, branch or tag.",
    "E468": "The hub cannot be reached, or answers with an error.",
    "E469": "Offline, and the file is not in the local cache.",
    "E470": "A downloaded file is incomplete or differs from what the hub announced.",
    "E471": "The lock file is malformed.",
    "E472": "The lock file and the weights disagree.",
    "E473": "A checkpoint cannot be converted to safetensors.",
    "E474": "A component was left with unset buffers or parameters.",
    "E475": "The cache cannot be written (disk full, no permission).",
    "E476": "A tensor has a dtype that cannot be read here.",
}


class WeightsError(Exception):
    """A problem with weights, told to the user.

    code: one of CODES. message: what was found, one or more lines. help: an action, one sentence.
    """

    def __init__(self, code: str, message: str, help: str = "") -> None:
        assert code in CODES, f"unknown weights error code {code}"
        super().__init__(code, message, help)
        self.code = code
        self.message = message
        self.help = help

    def __str__(self) -> str:
        tail = f"\nhelp: {self.help}" if self.help else ""
        return f"[{self.code}] {self.message}{tail}"
