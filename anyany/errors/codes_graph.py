"""Codes E1xx-E44x and W1xx-W4xx: names, kinds and edges, lists and places, sizes and spaces.

What the checker finds in a spec that is well-formed YAML.
"""

from __future__ import annotations

from anyany.errors.entry import Entry

NAMES = {
    "E101": Entry(
        "Unknown component",
        "No installed plugin offers a component of this name.",
        "Correct the name; `anyany plugins` lists what is installed.",
        "look: {use: vison/clip}",
    ),
    "E102": Entry(
        "Unknown namespace",
        "The part before the slash names a plugin namespace, and no installed plugin has it.",
        "Correct the name, or install the plugin that offers it.",
        "look: {use: acme/dino}",
    ),
    "E103": Entry(
        "Not a component name",
        "A component is named `namespace/name`, with an optional major version: `vision/clip@1`.",
        "Write the name in that form.",
        "look: {use: clip}",
    ),
    "E104": Entry(
        "This major version is not installed",
        "The component exists, but not in the major version that `@N` asks for.",
        "Use a version that is installed, or install another release of the plugin.",
        "look: {use: vision/clip@7}",
    ),
    "E105": Entry(
        "Unknown option",
        "The component's config has no option of this name. Options are never ignored silently.",
        "Correct the name; `anyany explain COMPONENT` lists the options.",
        "with: {quries: 32}",
    ),
    "E106": Entry(
        "An option has a wrong value",
        "The value has the wrong type, or is outside what the component accepts.",
        "Give a value of the type and range that the message names.",
        "with: {queries: many}",
    ),
    "E107": Entry(
        "A required option is missing",
        "The component has no default for this option.",
        "Add it under `with:`.",
    ),
    "E108": Entry(
        "Unknown preset",
        "`with: NAME` and `preset: NAME` choose a named preset of the card; it has none of this name.",
        "Use one of the presets listed; every card has `tiny`.",
        "with: tinny",
    ),
    "E110": Entry(
        "Unknown node or input",
        "An edge names something that is neither an input nor a node of this spec.",
        "Correct the name, or add the node.",
        "see: {use: adapters/mlp, in: lok}",
    ),
    "E111": Entry(
        "Unknown port",
        "The node is there, but its call gives no output of this name.",
        "Use one of the outputs listed; without a port the main output is taken.",
        "in: look.patchs",
    ),
    "E112": Entry(
        "Unknown input port",
        "The call takes no port of this name.",
        "Use one of the ports listed.",
        "in: {imge: look}",
    ),
    "E113": Entry(
        "Unknown call",
        "The component has no call of this name.",
        "Use one of the calls listed; without `call` the first is taken.",
        "back: {of: code, call: decod}",
    ),
    "E114": Entry(
        "`of` names no node with weights",
        "`of` must name a node that has `use`; it cannot name an input, nor a node that is `of` another.",
        "Name the node that holds the weights.",
        "draw: {of: prompt}",
    ),
    "E115": Entry(
        "Unknown profile",
        "The spec has no profile of this name.",
        "Use one of the profiles listed, or add it under `profiles:`.",
    ),
    "E116": Entry(
        "A profile changes what it may not",
        "Profiles set `device`, `dtype`, `weights` and `with` of nodes that exist, or of `*`, and never the wiring.",
        "Move the change to the spec itself, or correct the node's name.",
        "profiles: {fast: {see: {use: adapters/linear}}}",
    ),
    "E117": Entry(
        "Unknown kind",
        "No installed plugin offers a kind of this name.",
        "Use one of the kinds listed.",
        "inputs: {photo: img}",
    ),
    "E118": Entry(
        "Not a device or dtype",
        "A device is `cpu`, `cuda`, `cuda:N` or `mps`; a dtype is `float32`, `bfloat16` or `float16`.",
        "Use one of these.",
        "device: gpu",
    ),
}

EDGES = {
    "E201": Entry(
        "The kind does not fit",
        "The value on the edge is of one kind and the port takes another; the message shows both ends.",
        "Insert the component that the help names, or take another port.",
        "think: {use: language/causal-lm, in: {message: prompt, image: prompt.image}}",
    ),
    "E202": Entry(
        "The nodes form a cycle",
        "A node would need its own result. Loops live inside components.",
        "Break the cycle at one of the edges listed.",
        "a: {use: adapters/mlp, in: b}\nb: {use: adapters/mlp, in: a}",
    ),
    "E203": Entry(
        "A required port gets nothing",
        "The call needs this port and no edge feeds it.",
        "Add it to `in:`.",
    ),
    "E204": Entry(
        "Not an edge",
        "An edge is `node`, `node.port`, `input`, `input.kind`, a bracket `[a, b*]`, or `{fill: reply, K: edge}`.",
        "Write it in one of these forms.",
        "in: look.patches.first",
    ),
    "E205": Entry(
        "An output is fed by nothing usable",
        "The edge of an output names a node that only holds weights, or gives no value.",
        "Give the node an `in`, or name another.",
    ),
    "E206": Entry(
        "The node only holds weights",
        "A node without `in` gives no values; it can only be named by `of`.",
        "Give it an `in`, or use the node that calls it.",
        "look: {use: vision/clip}\nsee: {use: adapters/mlp, in: look}",
    ),
    "E207": Entry(
        "A port of kind `node` wants a node",
        "The port takes a component itself, written `{of: node}`, not a value; or the reverse.",
        "Write `{of: node}` for a node, and a plain edge for a value.",
    ),
    "E208": Entry(
        "Members of a union disagree",
        "A port of kind `any` is one kind across its node; two edges bring two kinds.",
        "Feed all of them with the same kind.",
    ),
    "E209": Entry(
        "`when` is not an edge",
        "`when:` opens a node where the value of an edge is present; it is neither a condition nor text.",
        "Name a node, a port or an input.",
        "when: x > 3",
    ),
    "E210": Entry(
        "The default does not fit its kind",
        "An input's `default` must be a value of the input's kind; media are given as a file path, a class as a number "
        "that the node it feeds has.",
        "Give a fitting default, or none.",
        "inputs: {labels: {kind: text*, default: 3}}",
    ),
    "E211": Entry(
        "The short form of `in` is ambiguous",
        "`in: x` feeds the main input port alone, and this call has none or the edge fits no main port.",
        "Name the port: `in: {port: x}`.",
    ),
    "E212": Entry(
        "The spec is not closed",
        "An output needs something that is neither given nor computed.",
        "Feed the ports that the message lists.",
    ),
}

LISTS = {
    "E301": Entry(
        "Two lists that are not the same",
        "Ports of a node are mapped over different lists. Lists pair up only when they are the same list, "
        "never by their length, and they never multiply.",
        "Start both edges from the same list, or gather one of them with a bracket `[x*]`.",
        "compare: {use: transforms/compare, in: {a: photos, b: drawings}}",
    ),
    "E302": Entry(
        "A star after something that is not a list",
        "In a bracket `x*` splices the list x in its place, and this value is single.",
        "Drop the star.",
        "in: [photo*, ask]",
    ),
    "E303": Entry(
        "A list where one value is wanted",
        "An output or a port that is not mapped takes one value, and the edge carries a list.",
        "Declare the output as it is, or gather the list with a bracket.",
    ),
    "E304": Entry(
        "The edge does not carry the message's places",
        "A per-place port takes exactly one value for each place of its kind in the message, so its edge "
        "must descend from that list and no other.",
        "Start the edge from the list that the help names.",
        "think: {in: {message: prompt, image: other_photos}}",
    ),
    "E305": Entry(
        "Media in the message that nobody takes",
        "A node takes this kind from the message, so the other port that takes the whole message must get it "
        "too, beside it or natively; otherwise the parts would be lost silently.",
        "Feed the port that the message names.",
    ),
    "E306": Entry(
        "A place of a reply is not filled",
        "The backbone may emit this kind, and the output has nothing to put in its places.",
        "Fill it: `{fill: think.reply, image: draw}`; or take `think.text`.",
        "outputs: {reply: think.reply}",
    ),
    "E307": Entry(
        "`fill` wants an open reply",
        "`fill` closes an open message, such as a backbone's `reply`; this edge is no open message or has no "
        "places of the kind.",
        "Name the reply of a backbone that emits the kind (`with: {signals: …}`).",
    ),
    "E308": Entry(
        "The filling does not carry the reply's places",
        "Values that fill a reply must descend from the backbone's output port of the same kind.",
        "Start the edge from the port that the help names.",
    ),
    "E309": Entry(
        "A value that may be absent, where none may be",
        "Per-place ports need a value at every place; this edge can have holes.",
        "Take the list before the holes arise, or give a component that fills them.",
    ),
    "E310": Entry(
        "The lists nest too deep for the port",
        "The port takes a list and the edge carries none, or lists of lists where they cannot be mapped.",
        "Follow the stack that the message prints.",
    ),
    "E311": Entry(
        "This kind is not part of a message",
        "`M.K` selects the parts of kind K of message M; K is a medium, a region or `text`.",
        "Use one of the kinds listed.",
        "in: prompt.features",
    ),
    "E312": Entry(
        "Not a message part",
        "In a bracket into a `message` port the entries are text, media or messages.",
        "Leave the entry out, or convert it.",
        "in: [photo, look.patches]",
    ),
    "E313": Entry(
        "A bracket where none may stand",
        "Brackets are for `K*` and `message` ports and for outputs.",
        "Write a plain edge.",
    ),
}

SIZES = {
    "E401": Entry(
        "Two sizes do not agree",
        "The two ends of an edge, or two edges of a node, fix the same axis to different sizes. Both places are shown.",
        "Insert an adapter (`adapters/mlp` needs no width), or correct the option that sets a size.",
    ),
    "E402": Entry(
        "The axes do not fit",
        "The value has other named axes than the port.",
        "Insert a transform that adds or removes the axis.",
    ),
    "E403": Entry(
        "A size is not known",
        "Nothing in the spec, the lock or the weights at hand tells this size, and the plan needs it.",
        "Use `--online` to read it from the checkpoint's header, or set the option.",
    ),
    "E404": Entry(
        "A size is out of range",
        "A size is a whole number of at least 1.",
        "Correct the option that sets it.",
    ),
    "E410": Entry(
        "The facet does not fit",
        "Between nodes the rate, channels and vocabulary must agree; only at inputs the loader converts.",
        "Insert a converting transform, or choose matching components.",
    ),
    "E411": Entry(
        "Tokens of another space",
        "Tokens mean something only to the codebook they come from: component and weights must be the same.",
        "Decode with the node that encoded (`of:`), or give both the same weights.",
    ),
}

WARNINGS = {
    "W101": Entry(
        "A node that nothing uses",
        "No output needs the node, so it never runs.",
        "Delete it, or connect it.",
    ),
    "W102": Entry(
        "An input that nothing uses",
        "No node and no output takes the input.",
        "Delete it, or connect it.",
    ),
    "W301": Entry(
        "The short form of `in` does not gather",
        "The port takes a list, and `in: x` gives it each value of the list alone, as a list of one; only the "
        "long form `in: {port: x}` and a bracket gather.",
        "Write `in: {port: x}` to gather, or `in: [x]` to say that one value is meant.",
        "all: {use: transforms/mean, in: look}",
    ),
    "W401": Entry(
        "A value of another space",
        "Embeddings and latents of one component are rarely of use to another, unless trained to fit.",
        "Check that the two were trained together.",
    ),
    "W402": Entry(
        "A size is not known yet",
        "The check goes on with a variable; `plan` and `run` will need it.",
        "Use `--online`, or set the option.",
    ),
}

ENTRIES = {**NAMES, **EDGES, **LISTS, **SIZES, **WARNINGS}
