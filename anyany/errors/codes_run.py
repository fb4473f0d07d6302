"""Codes E6xx-E9xx, W6xx and W8xx: running, training, the environment, the command line.

What is found after the spec itself has been checked.
"""

from __future__ import annotations

from anyany.errors.entry import Entry

RUN = {
    "E601": Entry(
        "An item failed",
        "A component raised an error on this item; the others went on.",
        "Read the message; `anyany replay` runs the item again alone.",
    ),
    "E602": Entry(
        "An item lacks an input",
        "The spec declares the input, the item does not give it, and it has no default.",
        "Add the field to the item, or a default to the spec.",
    ),
    "E603": Entry(
        "An item gives an unknown input or option",
        "The field is no input of the spec, or the option is not marked per-item by the card.",
        "Correct the name.",
    ),
    "E604": Entry(
        "A line of the items file is not usable",
        "Each line of `--items` is one JSON object with an optional unique `id`.",
        "Correct the line that the message names.",
    ),
    "E605": Entry(
        "A part of a message that no node takes",
        "The item's message holds media of a kind that no node of the spec reads; they are never dropped silently.",
        "Leave the part out, or add a node that takes it.",
    ),
    "E606": Entry(
        "The reply's places and its values differ in number",
        "A component gave more or fewer values than the reply has places.",
        "This is a fault of the component named; report it to its authors.",
    ),
    "E607": Entry(
        "A component gave what its card does not promise",
        "The kind, axes or sizes of a value differ from the card.",
        "This is a fault of the component named; report it to its authors.",
    ),
    "E608": Entry(
        "Out of memory",
        "Even one row at a time did not fit.",
        "Use a smaller dtype or profile, `--memory`, or a larger device.",
    ),
    "E609": Entry(
        "An output cannot be written",
        "The output folder is not writable, full, or holds something in the way.",
        "Give another `--out`.",
    ),
    "E610": Entry(
        "The plan does not fit in memory",
        "The predicted bytes exceed the memory given, in every residency that was tried.",
        "Raise `--memory`, want fewer outputs, or choose a smaller profile.",
    ),
    "E611": Entry(
        "The run was stopped",
        "An interrupt arrived before this item was done.",
        "Run again to do the rest.",
    ),
    "E612": Entry(
        "The input is beyond a limit",
        "The message or medium is longer than the component can take.",
        "Shorten the input, or raise the component's limit if it has one.",
    ),
}

TRAIN = {
    "E701": Entry(
        "A learned node that no loss reaches",
        "`learn:` names a node, but no minimised loss depends on it over edges that carry gradients.",
        "Add a loss, or take the node out of `learn`.",
    ),
    "E702": Entry(
        "`minimise` names no loss",
        "The edge does not give a value of kind `loss`.",
        "Name the loss output of an objective or of a `teach` call.",
    ),
    "E703": Entry(
        "`feed` names no port or no field",
        "A feed is `input: data.field` or `node.port: data.field`.",
        "Use the fields declared under `data`.",
    ),
    "E704": Entry(
        "`learn` names no node with weights",
        "Only nodes with `use` can be learned.",
        "Name such a node.",
    ),
    "E705": Entry(
        "A stage is not complete",
        "A stage needs `name`, `learn` or `lora`, `feed`, `minimise` and a number of steps or epochs.",
        "Add what the message names.",
    ),
    "E706": Entry(
        "The component cannot be trained",
        "Its call has no gradient and no `teach` call, or it runs in another process.",
        "Learn another node, or choose a component that can be trained.",
    ),
    "E707": Entry(
        "A setting of training is wrong",
        "Steps, batch, optimiser, schedule and the like are numbers within bounds, or one of a few words.",
        "Write a value that the message names.",
    ),
    "E708": Entry(
        "The data cannot be used",
        "The source of a stage gives no records, or a record lacks a field or holds one of another kind. "
        "The first records are read before the first step.",
        "Mend the data, or what `data` says of it.",
    ),
    "E709": Entry(
        "`measure` names no metric",
        "Validation takes means of outputs of kind `metric`.",
        "Add a node such as metrics/exact-match under `add`, and name it.",
    ),
    "E710": Entry(
        "The folder holds another run",
        "A run never writes over one that is there, and resumes only what was made with the same settings.",
        "Use `--resume`, or another `--out`.",
    ),
    "E711": Entry(
        "A loss is no number",
        "A loss became infinite or not a number; its batch was saved and no further step was taken.",
        "Look at the saved records, lower the learning rate, or clip the gradient.",
    ),
    "E712": Entry(
        "Every item of a batch failed",
        "Items that fail are left out of a step, but a step needs some.",
        "Read the first failure, which the message holds, and mend the data.",
    ),
    "E713": Entry(
        "The node takes no adapters",
        "LoRA goes onto linear layers; the node has none of the names asked for.",
        "Name other `targets`, or learn the node whole.",
    ),
    "E714": Entry(
        "No gradient arrives at a learned node",
        "In the first steps no gradient reached any of its parameters, so it would never change.",
        "Learn another node: some component between it and the loss computes without gradients.",
    ),
    "E715": Entry(
        "A stage ended short of what it must reach",
        "Its last validation is outside `at_least` or `at_most`. Its weights are written; no later stage was begun.",
        "Train it longer into another `--out`, or go on all the same by `--stage NEXT`.",
    ),
    "E716": Entry(
        "A checkpoint is damaged",
        "No checkpoint of the stage can be read: a file is missing or was cut short. Where an older one is whole, "
        "a run goes on from that one instead.",
        "Put the folder back from a copy, or remove it and train the stage anew.",
    ),
}

ENVIRONMENT = {
    "E801": Entry(
        "A plugin fails to import",
        "The plugin is quarantined: only specs that use it fail.",
        "`anyany plugins doctor` shows the traceback; reinstall or remove the plugin.",
    ),
    "E802": Entry(
        "Two plugins offer the same name",
        "A namespace or component belongs to one distribution.",
        "Remove one of the two.",
    ),
    "E803": Entry(
        "The device is not there",
        "The spec or the command asks for a device that this machine does not have.",
        "Choose another device or profile; `cpu` always works.",
    ),
    "E804": Entry(
        "A package is missing",
        "The component needs a package that is not installed.",
        "Install the package that the message names.",
    ),
    "E805": Entry(
        "The network is not reachable",
        "A download or a remote component could not connect.",
        "Check the network, or use `--offline` with files that are already there.",
    ),
    "E806": Entry(
        "A plugin's card is wrong",
        "The declaration of a component breaks the rules of the API, so the component is not offered.",
        "Report it to the plugin's authors; the message says what is wrong.",
    ),
    "E807": Entry(
        "A cache or data folder cannot be used",
        "The folder cannot be created, read or written.",
        "Free space or mend permissions, or set another folder.",
    ),
    "E810": Entry(
        "Internal error",
        "Something failed that should not be able to. It is a fault of anyany or a plugin, not of the spec.",
        "Run it again with ANYANY_DEBUG=1, and report the traceback with the spec.",
    ),
}

CALL = {
    "E901": Entry(
        "Unknown command or option",
        "The command line has no such command or option.",
        "`anyany --help` and `anyany COMMAND --help` list them.",
    ),
    "E902": Entry(
        "Unknown input",
        "`--in NAME=VALUE` or the keyword argument names an input that the spec does not have.",
        "Use one of the inputs listed.",
    ),
    "E903": Entry(
        "An input is missing",
        "The spec declares the input without a default, and the call does not give it.",
        "Add `--in NAME=VALUE`.",
    ),
    "E904": Entry(
        "Unknown output",
        "`--want` names an output, or a kind of it, that the spec does not have.",
        "Use one of the outputs listed.",
    ),
    "E905": Entry(
        "`--set` is not usable",
        "`--set` takes `dotted.path=VALUE`, where the value is YAML and the path leads through mappings, "
        "or through lists by number.",
        "Correct the path or the value.",
        "anyany check spec.yaml --set nodes.see.with=",
    ),
    "E906": Entry(
        "Not a size of memory",
        "A size is a number with a unit, such as `24GB` or `800MiB`.",
        "Write it in that form.",
    ),
    "E907": Entry(
        "A file that the call names cannot be used",
        "The file is missing, a folder, or not readable.",
        "Check the path.",
    ),
    "E908": Entry(
        "Not an error code or a component",
        "`anyany explain` takes a code such as `E201`, a component such as `vision/clip`, or a kind.",
        "`anyany explain` without a name lists them.",
    ),
    "E909": Entry(
        "An input value is not usable",
        "The value given for an input does not fit its kind.",
        "Give a text, a file of the right kind, or a message template with `{file:…}`.",
    ),
    "E910": Entry(
        "Options that exclude each other",
        "The two options cannot be given together, or one needs another.",
        "Leave one of them out.",
    ),
}

WARNINGS = {
    "W801": Entry(
        "A plugin is quarantined",
        "It fails to import; nothing in this spec uses it.",
        "`anyany plugins doctor` explains it.",
    ),
    "W601": Entry(
        "Memory was short",
        "The run went on with a smaller micro-batch, phases or offloading.",
        "Use a smaller profile to avoid the slow-down.",
    ),
}

ENTRIES = {**RUN, **TRAIN, **ENVIRONMENT, **CALL, **WARNINGS}
