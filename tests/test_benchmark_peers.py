"""Peers of benchmarks: there, left out by the command, or the end of it."""

from argparse import ArgumentParser, Namespace

import pytest

from benchmarks.kit.peers import add_without, present

ASKED = {"json": "pip install json", "no_such.peer": "pip install peer"}


def asked(*words, smoke=False):
    parser = ArgumentParser()
    add_without(parser)
    return Namespace(smoke=smoke, **vars(parser.parse_args(words)))


def test_a_peer_that_is_not_installed_ends_the_benchmark_with_how_to_install_it(capsys):
    with pytest.raises(SystemExit) as raised:
        present(ASKED, asked())
    said = capsys.readouterr().err
    assert raised.value.code == 2 and said.count("\n") == 1
    assert "no_such.peer" in said and "pip install peer" in said and "--without" in said


def test_peers_are_left_out_where_the_command_says_so_and_by_a_smoke_run(capsys):
    assert present(ASKED, asked("--without=no_such.peer")) == {"json"}
    assert present(ASKED, asked("--without=no_such.peer,json")) == set()
    assert capsys.readouterr().out == ""
    assert present(ASKED, asked(smoke=True)) == {"json"}
    assert capsys.readouterr().out == "no_such.peer is not installed: left out\n"


def test_another_package_cannot_be_left_out(capsys):
    with pytest.raises(SystemExit) as raised:
        present(ASKED, asked("--without=jsn"))
    assert raised.value.code == 2 and "got ['jsn']" in capsys.readouterr().err
