"""Codes E449-E479, W451 and E501-E529: weights with their facts and lock, and media files.

They include `anyany.weights.errors.CODES` and `anyany.media.errors.CODES`; a test compares them.
"""

from __future__ import annotations

from anyany.errors.entry import Entry

WEIGHTS = {
    "E449": Entry(
        "The component has no weights",
        "Its card declares none, so nothing could be read from the source given.",
        "Delete `weights`.",
        'mean: {use: transforms/mean, weights: "random:0", in: look}',
    ),
    "E450": Entry(
        "A node has no weights",
        "The component has weights and the spec does not say where they come from. Silent random "
        "initialisation is the worst fault of this field, so nothing is assumed.",
        'Add `weights: "hub:ORG/NAME"` or `"file:PATH"`; `"random:0"` if untrained weights are meant.',
        "look: {use: vision/clip, in: photo}",
    ),
    "E451": Entry(
        "A weights string is not of a known form",
        "Weights are `hub:ORG/NAME[/PATH][@COMMIT][#PREFIX]`, `file:PATH[#PREFIX]`, `bundle:NAMESPACE/PATH` "
        "or `random:SEED`, or a list of these, base first.",
        "Write one of these forms. A node with weights that names no source is an error too: nothing is "
        "initialised at random silently.",
        'weights: "openai/clip-vit-large-patch14"',
    ),
    "E452": Entry(
        "A bundle that no plugin ships",
        "`bundle:NAMESPACE/PATH` names a folder inside an installed plugin.",
        "Correct the name, or install the plugin.",
        'weights: "bundle:mini/lok"',
    ),
    "E453": Entry(
        "A weights file or folder is not there",
        "The path of a `file:` source is relative to the spec's folder, and nothing readable is there.",
        "Correct the path, or train the stage that writes the file.",
        'weights: "file:runs/align-in/see.safetensors"',
    ),
    "E454": Entry(
        "No weights in the folder or repository, or too many",
        "The folder holds no safetensors file, or several that are not shards of one checkpoint.",
        "Name the file: `file:FOLDER/model.safetensors` or `hub:ORG/NAME/model.safetensors`.",
    ),
    "E455": Entry(
        "The weights are a pickle",
        "A pickle can run code when it is read, so only safetensors are read.",
        "Convert it once by `anyany convert OLD NEW.safetensors`, or allow it with `--allow-pickle`.",
    ),
    "E456": Entry(
        "Not safetensors, or a corrupt header",
        "The file begins with no safetensors header: it may be another format, a pointer file of Git LFS, or "
        "an error page saved under this name.",
        "Fetch the file again.",
    ),
    "E457": Entry(
        "A safetensors file of the wrong length",
        "The file is shorter or longer than its header says; a download or copy was cut off.",
        "Fetch the file again.",
    ),
    "E458": Entry(
        "A sharded checkpoint does not hold together",
        "The index names shards or tensors that the files do not have.",
        "Fetch all files of the checkpoint again, from one commit.",
    ),
    "E459": Entry(
        "The tensors are not those of the component",
        "Tensors are missing, left over, or of another shape. A silently random layer is the worst fault of "
        "this field, so all of them must match; a card's `ignores` and the spec's `skip:` name the rest.",
        "Use the weights that belong to the component, give a `#PREFIX`, correct the options that set the "
        "sizes, or list under `skip:` what is to be left.",
    ),
    "E460": Entry(
        "An overlay does not fit the weights below it",
        "In a list of weights each later source replaces or adapts tensors of the first.",
        "Put the base first, and use overlays made for it.",
    ),
    "E461": Entry(
        "A LoRA adapter cannot be merged",
        "The adapter names layers that the base lacks, or of another shape, or is of an unknown type.",
        "Use the base that the adapter was trained on.",
    ),
    "E462": Entry(
        "An asset is missing or malformed",
        "Tokenizer, preprocessor and config files travel with the weights, and one of them is not usable.",
        "Add the file beside the weights, or fetch the folder again.",
    ),
    "E463": Entry(
        "A fact of the weights has an unusable value",
        "A size read from the checkpoint is not of the kind that the card expects.",
        "Check that the weights belong to the component.",
    ),
    "E464": Entry(
        "The hub has no such repository",
        "The name is wrong, or the repository is private and no token was given.",
        "Correct the name, or log in with a token that may read it.",
    ),
    "E465": Entry(
        "The hub's repository has no such file",
        "The path behind the repository's name is not in this commit.",
        "Correct the path.",
    ),
    "E466": Entry(
        "The hub's repository is gated",
        "Its owners want their terms accepted first, or the token does not open it.",
        "Accept the terms on the repository's page and log in with that account's token.",
    ),
    "E467": Entry(
        "The hub's repository has no such commit, branch or tag",
        "The revision behind `@`, or the commit in the lock, is gone or was never there.",
        "Correct the revision, or renew the lock.",
    ),
    "E468": Entry(
        "The hub cannot be reached",
        "No connection, or the hub answers with an error.",
        "Try again, check HF_ENDPOINT and the network, or use `--offline` with what is in the cache.",
    ),
    "E469": Entry(
        "Offline, and the file is not in the cache",
        "`--offline` forbids downloads, and the file was never fetched on this machine.",
        "Run once without `--offline`.",
    ),
    "E470": Entry(
        "A downloaded file is not what the hub announced",
        "Its length or hash differs; the connection or a proxy cut or changed it.",
        "Run again; the file is fetched anew.",
    ),
    "E471": Entry(
        "The lock file is malformed",
        "`SPEC.lock` is written by anyany; this one cannot be read.",
        "Restore it from version control, or delete it to make a new one.",
    ),
    "E472": Entry(
        "The lock file and the weights disagree",
        "The lock pins a commit or hash, and the weights at hand have another.",
        "Restore the weights, or renew the lock if the change is meant.",
    ),
    "E473": Entry(
        "A checkpoint cannot be converted",
        "The file holds no plain mapping from names to tensors, or needs code to be read.",
        "Convert it with the software that wrote it.",
    ),
    "E474": Entry(
        "A component was left with unset tensors",
        "After loading, some parameters or buffers had no value. This is a fault of the component.",
        "Report it to the component's authors; buffers belong into its `init_buffers()`.",
    ),
    "E475": Entry(
        "The cache cannot be written",
        "The disk is full, or the folder may not be written.",
        "Free space, mend permissions, or set HF_HOME to another folder.",
    ),
    "E476": Entry(
        "A tensor has a dtype that cannot be read here",
        "The file stores a number format that this release of torch or safetensors does not know.",
        "Convert the file, or install newer releases.",
    ),
}

MEDIA = {
    "E501": Entry("The file does not exist", "Nothing is at the path.", "Check the path."),
    "E502": Entry("A folder where a file was expected", "The path is a folder.", "Name a file in it."),
    "E503": Entry(
        "Not a regular file",
        "Pipes, devices and sockets could block for ever, so they are not opened.",
        "Copy the content into a file first.",
    ),
    "E504": Entry("The file cannot be read", "Permissions, or a fault of the disk.", "Mend the permissions."),
    "E505": Entry("The file is empty", "It has zero bytes.", "Give a file with content."),
    "E506": Entry(
        "Another kind of medium than the one expected",
        "Files are recognised by their content, not by their name.",
        "Give a file of the kind that the message names.",
        "--in photo=song.png",
    ),
    "E507": Entry(
        "No format that anyany reads",
        "The content is of no known format.",
        "Convert it: pictures to PNG or JPEG, sound to WAV or FLAC, films to MP4.",
    ),
    "E508": Entry("The file ends too early", "It was cut off.", "Copy or download it again."),
    "E509": Entry("The file is damaged", "Its content breaks the rules of its format.", "Copy or download it again."),
    "E510": Entry(
        "The file is too large", "It has more bytes than the limit allows.", "Shrink it, or raise the limit."
    ),
    "E511": Entry(
        "The picture is too large",
        "It has more pixels than the limit allows.",
        "Scale it down, or raise the limit.",
    ),
    "E512": Entry(
        "The sound or film is too long", "It is longer than the limit allows.", "Cut it, or raise the limit."
    ),
    "E513": Entry(
        "Too large once decoded",
        "Decoded, the content would take more memory than the limit allows.",
        "Scale it down or cut it, or raise the limit.",
    ),
    "E514": Entry("The text is too long", "It is longer than the limit allows.", "Cut it, or raise the limit."),
    "E515": Entry("The picture has no pixels", "Its width or height is zero.", "Give another picture."),
    "E516": Entry("The sound or film has no length", "It lasts zero seconds.", "Give another one."),
    "E517": Entry(
        "No track of the kind wanted", "The file has no picture or sound track.", "Give a file that has one."
    ),
    "E518": Entry("The text is not UTF-8", "Text files are UTF-8.", "Save the file as UTF-8."),
    "E519": Entry("Not valid JSON", "The file is no JSON document.", "Mend the place that the message names."),
    "E520": Entry(
        "A message template is not closed, or has an unknown tag",
        "Media stand in a message as `{file:PATH}`, `{image:PATH}`, `{audio:PATH}` or `{video:PATH}`; a "
        "brace itself is written twice.",
        "Close the brace, or write `{{` and `}}` for braces.",
        '--in prompt="What is in {file:cat.png"',
    ),
    "E521": Entry(
        "Not a part of a message",
        'Parts are text, `{"image": PATH}` and the like, regions such as `{"boxes": [[0, 0, 9, 9]]}` and '
        'turns such as `{"role": "user"}`.',
        "Write the part in one of these forms.",
    ),
    "E522": Entry(
        "A sound with samples that are not numbers",
        "Some samples are NaN or infinite.",
        "Mend the file, or the component that made it.",
    ),
    "E523": Entry(
        "The output could not be written",
        "The folder is full or may not be written.",
        "Give another `--out`.",
    ),
    "E524": Entry(
        "A value without the form of its kind",
        "The shape or type of the value is not what its kind asks for.",
        "Give it in the form that the message names.",
    ),
    "E525": Entry(
        "A facet cannot be met",
        "The value cannot be converted to the rate, channels or frames wanted.",
        "Give a value nearer to what is wanted.",
    ),
    "E526": Entry(
        "This installation cannot decode the format",
        "The format is known, but its codec is not part of the libraries installed.",
        "Convert the file, or install a build with the codec.",
    ),
    "E527": Entry(
        "Not a path of a file",
        "The path is empty, too long, or holds a character that no path can hold.",
        "Correct the path.",
    ),
}

WARNINGS = {
    "W451": Entry(
        "The weights are not there yet",
        "A file that the spec names does not exist. The check goes on; a run would stop here.",
        "Train the stage that writes it, or correct the path.",
        'see: {use: adapters/mlp, weights: "file:runs/align-in/see.safetensors"}',
    ),
}

ENTRIES = {**WEIGHTS, **MEDIA, **WARNINGS}
