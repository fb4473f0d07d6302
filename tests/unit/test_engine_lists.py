"""Lists in a run: mapping, broadcasting, gathering, brackets, stars, ties, holes and `when`, on toys that run."""

from __future__ import annotations

from plugins_for_tests.engine_pipes import calls, pipe


def test_a_node_is_mapped_over_a_list_and_a_shorter_stack_broadcasts() -> None:
    p = pipe("""
        inputs: {words: text*, tail: text}
        nodes: {j: {use: et/join, in: {a: words, b: tail}}}
        outputs: {out: j}
    """)
    assert p(words=["a", "b"], tail="z")["out"] == ["a+z", "b+z"]
    assert p(words=[], tail="z")["out"] == []


def test_lists_of_all_items_go_through_one_call() -> None:
    p = pipe("""
        inputs: {words: text*}
        nodes: {s: {use: et/sift, in: words}}
        outputs: {out: s}
    """)
    results = list(p.map([{"words": ["a", "b"]}, {"words": []}, {"words": ["c"]}]))
    assert [r.outputs["out"] for r in results] == [["a", "b"], [], ["c"]]
    assert calls("s") == [3]


def test_nested_lists_keep_their_nesting() -> None:
    p = pipe("""
        inputs: {words: text*}
        nodes:
          s: {use: et/split, in: words}
          j: {use: et/join, in: {a: s, b: words}}
          g: {use: et/gather, in: {values: j}}
          all: {use: et/gather, in: {values: g}}
        outputs: {out: j, per_word: g, all: all}
    """)
    found = p(words=["ab", "", "c"])
    assert found["out"] == [["a+ab", "b+ab"], [], ["c+c"]]
    assert found["per_word"] == ["[a+ab,b+ab]", "[]", "[c+c]"]
    assert found["all"] == "[[a+ab,b+ab],[],[c+c]]"


def test_gathering_drops_holes_and_outputs_show_them() -> None:
    p = pipe("""
        inputs: {words: text*}
        nodes:
          s: {use: et/sift, in: words}
          g: {use: et/gather, in: {values: s}}
        outputs: {kept: s, joined: g}
    """)
    found = p(words=["a", "x", "b"])
    assert found == {"kept": ["a", None, "b"], "joined": "[a,b]"}


def test_a_list_output_tied_to_an_input_keeps_its_identity_and_its_holes() -> None:
    p = pipe("""
        inputs: {words: text*}
        nodes:
          s: {use: et/sift, in: words}
          num: {use: et/number, in: {values: s}}
          j: {use: et/join, in: {a: words, b: num}}
        outputs: {out: j}
    """)
    assert p(words=["a", "x", "b"])["out"] == ["a+0a", "x+-", "b+1b"]


def test_a_bracket_gathers_plain_and_starred_entries_in_order_without_holes() -> None:
    p = pipe("""
        inputs: {head: text, words: text*, extra: "text?"}
        nodes:
          s: {use: et/sift, in: words}
          g: {use: et/gather, in: {values: [head, s*, extra]}}
        outputs: {out: g}
    """)
    assert p(head="h", words=["a", "x", "b"])["out"] == "[h,a,b]"
    assert p(head="h", words=[], extra="e")["out"] == "[h,e]"


def test_a_plain_list_entry_of_a_bracket_maps_the_node() -> None:
    p = pipe("""
        inputs: {head: text, words: text*}
        nodes: {g: {use: et/gather, in: {values: [head, words]}}}
        outputs: {out: g}
    """)
    assert p(head="h", words=["a", "b"])["out"] == ["[h,a]", "[h,b]"]


def test_an_output_may_be_a_bracket() -> None:
    p = pipe("""
        inputs: {a: text, b: text}
        nodes: {j: {use: et/join, in: {a: a}}}
        outputs: {both: [a, b], j: j}
    """)
    assert p(a="1", b="2")["both"] == ["1", "2"]


def test_a_node_is_absent_where_a_required_port_is_and_optional_ports_split_the_batch() -> None:
    p = pipe("""
        inputs: {a: text, b: text}
        nodes:
          s: {use: et/sift, in: a}
          t: {use: et/sift, in: b}
          need: {use: et/join, in: {a: s, b: b}}
          may: {use: et/join, in: {a: a, b: t}}
        outputs: {need: need, may: may}
    """)
    results = [r.outputs for r in p.map([{"a": "1", "b": "2"}, {"a": "x", "b": "3"}, {"a": "4", "b": "x"}])]
    assert results == [
        {"need": "1+2", "may": "1+2"}, {"need": None, "may": "x+3"}, {"need": "4+x", "may": "4+-"},
    ]  # fmt: skip
    assert sorted(calls("may")) == [1, 2]


def test_when_opens_a_node_element_by_element_and_for_a_list_that_is_not_empty() -> None:
    p = pipe("""
        inputs: {words: text*, gate: "text?", t: text}
        nodes:
          s: {use: et/sift, in: words}
          each: {use: et/join, in: {a: words}, when: s}
          some: {use: et/join, in: {a: t}, when: words}
          gated: {use: et/join, in: {a: t}, when: gate}
        outputs: {each: each, some: some, gated: gated}
    """)
    assert p(words=["a", "x"], t="t") == {"each": ["a+-", None], "some": "t+-", "gated": None}
    assert p(words=[], t="t", gate="g") == {"each": [], "some": None, "gated": "t+-"}


def test_a_list_of_an_absent_node_is_empty_not_absent() -> None:
    p = pipe("""
        inputs: {a: text}
        nodes:
          s: {use: et/sift, in: a}
          c: {use: et/split, in: s}
          g: {use: et/gather, in: {values: c}}
        outputs: {out: g}
    """)
    assert p(a="x")["out"] == "[]"
