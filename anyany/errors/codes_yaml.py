"""Codes E001-E049 and W001-W009: the file, its YAML, and the shape of what it says.

YAML 1.2's core schema decides what a scalar is; where YAML 1.1 tools differ, the entry says so.
"""

from __future__ import annotations

from anyany.errors.entry import Entry

FILE = {
    "E001": Entry(
        "The spec file cannot be read",
        "The path does not exist, is a folder or another thing that is not a file, or may not be read.",
        "Check the path and its permissions.",
    ),
    "E002": Entry(
        "The spec file is too large",
        "A spec is about one page; files above 1 MB are refused, for they are data given by mistake.",
        "Give a spec. Data belong in files that the spec or the command line names.",
    ),
    "E003": Entry(
        "The spec file is not UTF-8 text",
        "Specs are UTF-8. The file may be binary, or saved by an editor in another encoding.",
        "Save the file as UTF-8.",
    ),
    "E004": Entry(
        "A control character stands in the spec",
        "NUL and other control characters are not allowed in YAML, and are usually invisible in an editor.",
        "Delete the character at the place shown; inside a value write an escape in double quotes.",
    ),
    "E005": Entry(
        "The spec is empty",
        "The file has no content besides spaces and comments.",
        "Start with `anyany: 1`, `inputs:`, `nodes:` and `outputs:`; `anyany new spec NAME` writes a sample.",
    ),
    "E006": Entry(
        "A spec is a mapping",
        "The top level of a spec is a mapping with keys such as `inputs`, `nodes` and `outputs`, "
        "not a list or a single value.",
        "Write `key: value` lines at the top level, each with a space after the colon.",
        "- use: vision/clip",
    ),
    "E007": Entry(
        "One file holds one spec",
        "A line `---` starts a second YAML document in the file.",
        "Put each spec in its own file, or delete the `---`.",
        "name: one\n---\nname: two",
    ),
    "E009": Entry(
        "Too many problems",
        "After a hundred problems in one file the rest is not read.",
        "Mend the first ones; most of the others often share their cause.",
    ),
    "E008": Entry(
        "The spec is nested too deeply",
        "More than 64 levels of nesting; real specs use about six. Often a bracket that never closes.",
        "Close the brackets, or flatten the structure.",
    ),
}

SYNTAX = {
    "E010": Entry(
        "YAML syntax error",
        "The text is not YAML at the place shown. The true cause is often a line earlier.",
        "Look at quotes, brackets, colons and indentation at the place shown and just before it.",
    ),
    "E011": Entry(
        "A tab is used as indentation",
        "YAML forbids tabs in indentation, because their width is a matter of taste.",
        "Indent by spaces; set the editor to insert spaces in YAML files.",
        "nodes:\n\tlook: {use: vision/clip}",
    ),
    "E012": Entry(
        "The indentation does not fit",
        "Keys of one mapping, and dashes of one list, start in the same column. This line starts in a column "
        "that belongs to no open block, or mixes `- ` items and `key:` lines in one block.",
        "Align the line with its siblings.",
        "nodes:\n    look: {use: vision/clip}\n  see: {use: adapters/mlp}",
    ),
    "E013": Entry(
        "A space is missing after the colon",
        "`key:value` is one word in YAML; only `key: value`, with a space, is a key and its value.",
        "Add a space after the colon. If it is one word indeed, quote it.",
        "see: {use:adapters/mlp}",
    ),
    "E014": Entry(
        "A bracket is not closed",
        "A `{` or `[` has no `}` or `]`, a comma is missing between two entries, or one kind of bracket is "
        "closed by the other.",
        "Close the bracket that the message names, or put the missing comma.",
        "see: {use: adapters/mlp, in: look\nthink: {use: language/causal-lm}",
    ),
    "E015": Entry(
        "A quote is not closed",
        "A text that starts with a quote runs to the end of the file.",
        "Close the quote. Inside single quotes, a quote is written twice: `'it''s'`.",
        'weights: "hub:Qwen/Qwen3-8B',
    ),
    "E016": Entry(
        "A value cannot start with this character",
        "YAML reserves `@` and the backtick, and `%` starts a directive; such a value needs quotes.",
        "Quote the value.",
        "name: @home",
    ),
    "E017": Entry(
        "A colon inside unquoted text",
        "`: ` makes a key of what stands before it, and a key cannot stand here. Either the text needs "
        "quotes, or the line before should not have a value of its own, or is not indented as meant.",
        "Quote the text, or start a new line.",
        "about: Text in: text out",
    ),
    "E018": Entry(
        "Text after the end of a value",
        "After a closing quote or bracket the value is over; more text on the line is an error.",
        "Put the whole value into one pair of quotes, or delete the rest.",
        "about: 'it's all one model'",
    ),
    "E019": Entry(
        "Unknown escape in double quotes",
        r"In double quotes a backslash starts an escape such as \n or \u00e9; others are errors.",
        r"Write `\\` for a backslash, or use single quotes, which know no escapes.",
        r'weights: "file:C:\models\see.safetensors"',
    ),
    "E020": Entry(
        "A bracket or comma out of place",
        "A closing bracket that was never opened, or a comma where a value should be.",
        "Delete it, or open the bracket it belongs to.",
        "in: look]",
    ),
}

VALUES = {
    "E021": Entry(
        "A key is given twice",
        "The same key stands twice in one mapping. Most YAML tools silently keep the last one; here it is an "
        "error, because one of the two would be ignored.",
        "Rename or delete one of them.",
        "nodes:\n  see: {use: adapters/mlp}\n  see: {use: adapters/linear}",
    ),
    "E022": Entry(
        "A star before a name is a YAML alias",
        "`*name` refers to an anchor `&name`, and there is none. In a bracket the star that splices a list "
        "follows the name: `photos*`.",
        "Write the star after the name.",
        "in: [*photos, ask]",
    ),
    "E023": Entry(
        "Aliases that repeat too much",
        "An alias may not stand inside its own anchor, nor may aliases expand to more than 100,000 values.",
        "Write the repeated part out, or repeat less.",
        "a: &a [*a]",
    ),
    "E024": Entry(
        "YAML tags are not used",
        "A spec names components by id and never code, so tags such as `!!python/object` or `!include` are "
        "refused, standard tags too. To make a text of a number, quote it.",
        "Delete the tag.",
        "name: !!python/object:os.system ls",
    ),
    "E025": Entry(
        "Merge keys are not used",
        "`<<: *base` belongs to YAML 1.1 only, and hides where a value comes from.",
        "Write the keys out, or use a profile, which merges options by rule.",
        "see: {<<: *base, use: adapters/mlp}",
    ),
    "E026": Entry(
        "An unquoted `?` inside brackets",
        "Inside `{…}` and `[…]` several YAML readers refuse an unquoted `?`, so such a spec would load on "
        "one machine and not on the next.",
        'Quote it: `{a: "text?"}`. On a line of its own, `a: text?` needs no quotes.',
        "inputs: {question: text?}",
    ),
    "E027": Entry(
        "on, off, yes, no, y, n are not booleans here",
        "YAML 1.1 reads these words as true and false, YAML 1.2 as text. A spec must not mean different "
        "things to different tools, so the word needs to be made clear.",
        'Write `true` or `false` for a switch, or quote the word for a text: `"no"`.',
        "with: {normalise: yes}",
    ),
    "E028": Entry(
        "A number with a leading zero",
        "`010` is eight to YAML 1.1 tools and ten to YAML 1.2 tools.",
        'Write `10`; `0o10` for octal; `"010"` for a text.',
        "steps: 010",
    ),
    "E029": Entry(
        "A number that only some YAML tools understand",
        "Underscores in numbers and binary `0b…` are numbers in YAML 1.1 and text in YAML 1.2.",
        "Write the number in plain digits, or quote it if it is a text.",
        "steps: 10_000",
    ),
    "E030": Entry(
        "A number is too large",
        "Whole numbers go from -2^63 to 2^63-1, others up to about 1.8e308.",
        "Write a smaller number, or quote it if it is a text such as an id.",
    ),
    "E031": Entry(
        "Not a number",
        "`.nan` is no usable value for any option.",
        "Write a number, or leave the option out.",
    ),
    "E032": Entry(
        "A key must be a name",
        "The key is empty, null, a list or a mapping. Double braces `{{x}}` are two nested mappings to YAML: "
        "specs have no templates.",
        "Write a plain name as the key; quote a value that holds braces.",
        "in: {{prompt}}",
    ),
    "E033": Entry(
        "A key without a value inside braces",
        "`{a, b: 1}` gives `a` no value. A forgotten colon, or a list meant.",
        "Write `{a: value, b: 1}`, or `[a, b]` for a list.",
        "see: {use: adapters/mlp, in}",
    ),
    "E034": Entry(
        "A value that a spec cannot hold",
        "A spec built in Python may hold dict, list, str, int, float, bool and None only, with text as keys.",
        "Convert the value, for example a Path by `str(path)`.",
    ),
}

SHAPE = {
    "E040": Entry(
        "Unknown key",
        "The key has no meaning at this place of a spec, so it would be ignored silently.",
        "Correct the spelling, or move the key to where it belongs.",
        "node:\n  see: {use: adapters/mlp}",
    ),
    "E041": Entry(
        "A value has the wrong shape",
        "A mapping, a list, a text, a number or a boolean was expected, and another of them was found.",
        "Write the value in the shape that the message names.",
        "nodes: [look, see]",
    ),
    "E042": Entry(
        "A required key is missing",
        "Without it the section has no meaning: a spec needs `nodes` and `outputs`, a long input its `kind`.",
        "Add the key.",
    ),
    "E043": Entry(
        "Unknown version of the spec language",
        "`anyany:` gives the version of the language that a spec is written in; this release reads 1.",
        "Write `anyany: 1`, or use a newer release.",
        "anyany: 2",
    ),
    "E044": Entry(
        "Not a valid name",
        "Names of inputs, nodes, outputs and profiles are made of letters, digits, `_` and `-`, and start "
        "with a letter. A dot separates a node from its port and cannot be part of a name.",
        "Choose another name.",
        "nodes: {my.node: {use: adapters/mlp}}",
    ),
    "E045": Entry(
        "A name is taken",
        "Inputs and nodes share one set of names, because edges refer to both in the same way.",
        "Rename one of them.",
        "inputs: {look: image}\nnodes: {look: {use: vision/clip}}",
    ),
    "E046": Entry(
        "A node says both `use` and `of`, or neither",
        "`use: namespace/name` makes a node of its own; `of: node` calls another node's weights again.",
        "Keep exactly one of the two.",
        "see: {in: look}",
    ),
    "E047": Entry(
        "The key does not go with `of`",
        "A node made by `of` shares component, options and weights with the node it names, and cannot set them itself.",
        "Move `with`, `weights`, `device` or `dtype` to the node that `of` names.",
        "draw: {of: vae, with: {steps: 10}}",
    ),
    "E048": Entry(
        "Code is not allowed in a spec",
        "A spec names ids, never code: no dotted Python paths, expressions or templates, and no files "
        "outside its folder.",
        "Name a component of an installed plugin by `namespace/name`.",
        "see: {use: torch.nn.Linear}",
    ),
}

WARNINGS = {
    "W001": Entry(
        "A number that some YAML tools read as text",
        "YAML 1.2 reads `1e-4` as a number, YAML 1.1 tools (PyYAML among them) as text. It is a number here.",
        "Write `1.0e-4`, with a dot and a sign, which all tools read as a number.",
        "optim: {lr: 1e-4}",
    ),
    "W002": Entry(
        "A key that some YAML tools read as a boolean or number",
        "Keys are always text here, but `on:` or `1:` is true or a number to other tools.",
        "Quote the key.",
        "on: true",
    ),
    "W003": Entry(
        "A text that some YAML tools read as a date, a time or a number",
        "`2020-01-01` and `1:30` are text here, and a date and ninety (sexagesimal) to YAML 1.1 tools.",
        "Quote it.",
        "name: 2020-01-01",
    ),
    "W004": Entry(
        "A text that looks like infinity or not-a-number",
        "YAML writes infinity as `.inf`; plain `inf`, `infinity` and `nan` are text.",
        "Write `.inf`, or quote the word if text is meant.",
        "max: inf",
    ),
}

ENTRIES = {**FILE, **SYNTAX, **VALUES, **SHAPE, **WARNINGS}
