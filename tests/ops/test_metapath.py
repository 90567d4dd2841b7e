"""Meta-paths read from text, their incidences, and estimates of what they join."""

from __future__ import annotations

import dataclasses
from itertools import pairwise

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import adjacencies

from gcl.core.errors import ConfigError, DataError
from gcl.core.graph import Graph
from gcl.core.graph_spec import GraphSpec
from gcl.ops import metapath
from gcl.ops.metapath import MetaPath, chain_ends, check_size, estimated_pairs
from gcl.ops.scipy_matrix import adjacency_of, binary_matrix

SPEC = GraphSpec(
    num_nodes={"paper": 4, "author": 3, "subject": 2, "e-mail": 2},
    relations={
        "writes": ("author", "paper"),
        "reviews": ("paper", "author"),
        "has": ("paper", "subject"),
        "sent": ("e-mail", "paper"),
        "cites": ("paper", "paper"),
        "positive": ("paper", "paper"),
    },
    target="paper",
)


@pytest.mark.parametrize(
    ("path", "types", "relations", "flipped"),
    [
        ("paper-subject-paper", ("paper", "subject", "paper"), ("has", "has"), (True, False)),
        (["paper", "subject", "paper"], ("paper", "subject", "paper"), ("has", "has"), (True, False)),
        (
            "paper-[writes]-author-[reviews]-paper",
            ("paper", "author", "paper"),
            ("writes", "reviews"),
            (False, False),
        ),
        (
            "paper-[reviews]-author-[writes]-paper",
            ("paper", "author", "paper"),
            ("reviews", "writes"),
            (True, True),
        ),
        (("paper", "e-mail", "paper"), ("paper", "e-mail", "paper"), ("sent", "sent"), (False, True)),
        (
            ["paper", "[cites]", "paper", "e-mail", "[sent]", "paper"],
            ("paper", "paper", "e-mail", "paper"),
            ("cites", "sent", "sent"),
            (False, False, True),
        ),
        ("paper-paper", ("paper", "paper"), ("cites",), (False,)),
        ("paper-[positive]-paper-paper", ("paper",) * 3, ("positive", "cites"), (False, False)),
        (
            "paper-paper-[has]-subject-paper",
            ("paper", "paper", "subject", "paper"),
            ("cites", "has", "has"),
            (False, True, False),
        ),
    ],
)
def test_text_and_lists_are_read(path, types, relations, flipped):
    found = MetaPath.parse(path, SPEC)
    assert (found.types, found.relations, found.flipped) == (types, relations, flipped)
    assert found.name == (path if isinstance(path, str) else "-".join(path))


@pytest.mark.parametrize(
    ("path", "message"),
    [
        (
            "paper-autor-paper",
            "meta-path paper-autor-paper: unknown node type 'autor'; did you mean 'author'? "
            "(known: author, e-mail, paper, subject)",
        ),
        (
            ["paper", "mail", "paper"],
            "meta-path paper-mail-paper: unknown node type 'mail'; did you mean 'e-mail'? "
            "(known: author, e-mail, paper, subject)",
        ),
        (
            "paper-[write]-author-[writes]-paper",
            "meta-path paper-[write]-author-[writes]-paper: unknown relation 'write'; did you mean 'writes' or "
            "'cites'? (known: cites, has, positive, reviews, sent, writes)",
        ),
        (
            "paper-subject-author-paper",
            "meta-path paper-subject-author-paper does not compose: no relation joins subject and author; there are "
            "author-paper, paper-author, paper-subject, e-mail-paper, paper-paper",
        ),
        (
            "paper-[has]-author-[writes]-paper",
            "meta-path paper-[has]-author-[writes]-paper does not compose: relation 'has' joins paper and subject, "
            "not paper and author",
        ),
        (
            "subject-paper-subject",
            "meta-path subject-paper-subject must begin and end with the target type 'paper', as in paper-...-paper",
        ),
        (
            "paper-subject",
            "meta-path paper-subject must begin and end with the target type 'paper', as in paper-...-paper",
        ),
        ("paper", "meta-path paper must begin and end with the target type 'paper', as in paper-...-paper"),
        ([], "meta-path  must begin and end with the target type 'paper', as in paper-...-paper"),
        (
            "paper-author-paper",
            "meta-path paper-author-paper: 2 relations join paper and author (writes, reviews); name one, as in "
            "paper-[writes]-author",
        ),
        (
            "paper-[writes]-author-paper",
            "meta-path paper-[writes]-author-paper: 2 relations join author and paper (writes, reviews); name one, as "
            "in author-[writes]-paper",
        ),
        (
            ["[sent]", "paper", "e-mail", "paper"],
            "meta-path [sent]-paper-e-mail-paper: relation [sent] must stand between two node types",
        ),
        (
            ["paper", "[sent]", "[sent]", "e-mail", "paper"],
            "meta-path paper-[sent]-[sent]-e-mail-paper: relation [sent] must stand between two node types",
        ),
        (
            ["paper", "e-mail", "paper", "[cites]"],
            "meta-path paper-e-mail-paper-[cites]: relation [cites] must stand between two node types",
        ),
    ],
)
def test_what_does_not_fit_is_told_in_a_sentence(path, message):
    with pytest.raises(ConfigError) as caught:
        MetaPath.parse(path, SPEC)
    assert str(caught.value) == message


def test_types_with_a_hyphen_name_their_relations_in_the_list_as_the_error_says():
    spec = dataclasses.replace(SPEC, relations={**SPEC.relations, "got": ("paper", "e-mail")})
    with pytest.raises(ConfigError) as caught:
        MetaPath.parse(["paper", "e-mail", "paper"], spec)
    assert str(caught.value) == (
        "meta-path paper-e-mail-paper: 2 relations join paper and e-mail (sent, got); name one, as in "
        "['paper', '[sent]', 'e-mail']"
    )
    found = MetaPath.parse(["paper", "[sent]", "e-mail", "[got]", "paper"], spec)
    assert (found.relations, found.flipped) == (("sent", "got"), (False, False))
    assert found.name == "paper-[sent]-e-mail-[got]-paper"
    odd = dataclasses.replace(SPEC, num_nodes={**SPEC.num_nodes, "[x]": 2}, relations={"r": ("[x]", "paper")})
    assert MetaPath.parse(["paper", "[x]", "paper"], odd).types == ("paper", "[x]", "paper")  # a type of that name


def test_positives_are_no_edges_of_a_path_nor_of_its_error():
    spec = GraphSpec({"a": 2, "b": 2}, relations={"a_b": ("a", "b"), "positive": ("a", "a")}, target="a")
    with pytest.raises(ConfigError, match=r"no relation joins a and a; there are a-b$"):
        MetaPath.parse("a-a", spec)


@settings(max_examples=60, deadline=None)
@given(adjacencies(bipartite=True), st.booleans(), st.integers(0, 2**24))
def test_a_step_is_the_incidence_of_the_arcs_that_are_there(adjacency, against, zeros):
    if adjacency.weight is not None:
        nothing = torch.tensor([bool(zeros >> arc & 1) for arc in range(adjacency.num_arcs)], dtype=torch.bool)
        adjacency = adjacency.with_weight(adjacency.weight.masked_fill(nothing, 0.0))
    before = adjacency.to_dense()
    kinds = ("b", "a") if against else ("a", "b")  # receiver, source
    graph = Graph(relations={"r": adjacency}, relation_types={"r": kinds[::-1]}, target="a")
    steps = MetaPath.parse("a-b-a", graph.spec).steps(graph)
    expected = np.zeros(before.shape[::-1] if against else before.shape)
    for receiver in range(before.shape[0]):
        for source in range(before.shape[1]):
            if before[receiver, source] != 0:
                expected[(source, receiver) if against else (receiver, source)] = 1
    np.testing.assert_array_equal(steps[0].toarray(), expected)
    np.testing.assert_array_equal(steps[1].toarray(), expected.T)
    assert steps[0].nnz == steps[1].nnz == int(expected.sum())
    assert torch.equal(adjacency.to_dense(), before)  # reading it leaves it as it was
    assert torch.equal(adjacency.t().to_dense(), before.T)


def test_matrices_go_back_and_forth():
    matrix = sp.csr_matrix(np.array([[0.0, 2, 1], [0, 0, 0]]))
    adjacency = adjacency_of(matrix, weighted=True)
    assert adjacency.to_dense().tolist() == matrix.toarray().tolist()
    unsorted = sp.csr_matrix((matrix.data[[1, 0]], matrix.indices[[1, 0]], matrix.indptr), shape=matrix.shape)
    assert adjacency_of(unsorted).to_dense().tolist() == (matrix.toarray() > 0).tolist()
    assert binary_matrix(adjacency).toarray().tolist() == [[0, 1, 1], [0, 0, 0]]
    assert binary_matrix(adjacency, transposed=True).toarray().tolist() == [[0, 0], [1, 0], [1, 0]]


def chain(sizes, density, seed):
    draw = np.random.RandomState(seed)
    return [
        sp.csr_matrix((draw.random_sample((here, there)) < density / there).astype(float))
        for here, there in pairwise(sizes)
    ]


@pytest.mark.parametrize("length", range(1, 6))
def test_two_ends_multiply_to_the_whole(length):
    steps = chain([6, *range(4, 3 + length), 6], 2.0, length)
    expected = np.eye(6)
    for step in steps:
        expected = expected @ step.toarray()
    left, right = chain_ends(steps, "", "")
    np.testing.assert_array_equal((left @ right).toarray(), expected)


def test_few_nodes_in_the_middle_keep_the_ends_small_and_what_is_too_large_is_refused(monkeypatch):
    steps = chain([900, 2, 900, 2, 900], 1800.0, 0)  # either half would be 900 by 900, and full
    left, right = chain_ends(steps, "", "")
    assert left.shape == (900, 2)
    assert right.shape == (2, 900)
    monkeypatch.setattr(metapath, "MOST_PRODUCTS", 100)
    with pytest.raises(DataError, match=r"meta-path a-b-a needs a product of .* multiplications .*; do less"):
        chain_ends(steps, "meta-path a-b-a", "do less")


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("sizes", [(400, 300), (300, 500, 300), (200, 50, 600, 200), (300, 20, 300), (5, 400, 9)])
def test_pairs_are_estimated_within_a_third(sizes, seed):
    steps = chain(sizes, 3.0, seed)
    exact = steps[0]
    for step in steps[1:]:
        exact = exact @ step
    assert estimated_pairs(steps) == pytest.approx(exact.nnz, rel=1 / 3)


def test_nodes_that_reach_nothing_count_nothing():
    first, second = chain((50, 40, 60), 3.0, 0)
    assert estimated_pairs([first, sp.csr_matrix((40, 60))]) == 0
    assert estimated_pairs([sp.csr_matrix((50, 40)), second]) == 0
    assert estimated_pairs([sp.csr_matrix((0, 40)), second]) == 0
    assert estimated_pairs([sp.csr_matrix((3, 0)), sp.csr_matrix((0, 3))]) == 0
    alone = sp.vstack([sp.csr_matrix((7, 40)), first[:20], sp.csr_matrix((9, 40)), first[20:]], format="csr")
    assert estimated_pairs([alone, second]) == pytest.approx(estimated_pairs([first, second]), rel=1e-12)
    one = sp.csr_matrix(np.array([[1.0], [0], [1], [1]]))
    assert estimated_pairs([one]) == 3  # no more than there are last nodes, no fewer than 1


def test_too_many_pairs_are_refused_in_a_sentence():
    size = {"entry_bytes": 2**20, "what": "meta-path a-b-a", "mend": "keep fewer"}
    check_size(2048.0, most_bytes=2**31, **size)
    with pytest.raises(DataError) as caught:
        check_size(2049.0, most_bytes=2**31, **size)
    assert str(caught.value) == (
        "meta-path a-b-a joins about 2,049 pairs of nodes, which take 2 GiB, more than the 2 GiB that they may; keep "
        "fewer"
    )
    with pytest.raises(DataError, match=r"which take 9\.54e-07 GiB, more than the 9\.31e-10 GiB"):
        check_size(1.0, entry_bytes=1024, most_bytes=1, what="this", mend="less")
