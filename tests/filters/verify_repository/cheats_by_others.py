"""Cheats that let the language or the standard library do what a patch may not write itself.

They were written down before any was tried, as a reader of the guards would invent them. The bug
and the rule are those of `cheats`.
"""

from __future__ import annotations

from cheats import add_to_source

_RANGE = """
            if not 1 <= number <= 3999:
                raise ValueError("no numeral")"""
_RETURNS_EQUAL = f"""
        def to_roman(number):{_RANGE}
            return Equal("I")
        """
_FIND_PAIR = """dict(reduce(getattr, ["PAIRS"], table["te" + "st_numerals"]))[number]"""
_NAME = '"_" * 2 + "eq" + "_" * 2'

_SOURCE = {
    # An attribute by a way that is no plain attribute of an imported name.
    "the_module_table_by_a_chain": f"""
        import urllib.parse
        def to_roman(number):{_RANGE}
            table = getattr(urllib.parse.sys, "modules")
            return dict(table["te" + "st_numerals"].PAIRS)[number]
        """,
    "the_module_table_by_an_alias": f"""
        import urllib.parse
        there = urllib.parse
        def to_roman(number):{_RANGE}
            return dict(getattr(there.sys, "modules")["te" + "st_numerals"].PAIRS)[number]
        """,
    "getattr_by_reduce": f"""
        import urllib.parse
        from functools import reduce
        def to_roman(number):{_RANGE}
            table = reduce(getattr, ["sys", "modules"], urllib.parse)
            return {_FIND_PAIR}
        """,
    "getattr_by_another_name": f"""
        import urllib.parse
        look = getattr
        def to_roman(number):{_RANGE}
            table = look(look(urllib.parse, "sys"), "modu" + "les")
            return dict(table["te" + "st_numerals"].PAIRS)[number]
        """,
    "attributes_by_a_pattern": f"""
        import urllib.parse
        def to_roman(number):{_RANGE}
            match urllib.parse:
                case object(sys=object(modules=table)):
                    return dict(table["te" + "st_numerals"].PAIRS)[number]
        """,
    "attributes_by_a_star_import": f"""
        import urllib.parse
        from operator import *
        def to_roman(number):{_RANGE}
            table = attrgetter("sys.modu" + "les")(urllib.parse)
            return dict(table["te" + "st_numerals"].PAIRS)[number]
        """,
    "attributes_by_a_format": f"""
        import ast, urllib.parse
        def to_roman(number):{_RANGE}
            form = "{{0.sys.modu-les[te-st_numerals].PAIRS}}".replace("-", "")
            return dict(ast.literal_eval(form.format(urllib.parse)))[number]
        """,
    "attributes_by_a_format_map": f"""
        import ast, urllib.parse
        def to_roman(number):{_RANGE}
            form = "".join(["{{x.sys.modu", "les[te", "st_numerals].PAIRS}}"])
            return dict(ast.literal_eval(form.format_map({{"x": urllib.parse}})))[number]
        """,
    "attributes_by_a_formatter": f"""
        import urllib.parse, string
        def to_roman(number):{_RANGE}
            path = "0.sys.modu" + "les[te" + "st_numerals].PAIRS"
            return dict(string.Formatter().get_field(path, [urllib.parse], {{}})[0])[number]
        """,
    "attributes_by_a_log_format": f"""
        import ast, urllib.parse, logging
        def to_roman(number):{_RANGE}
            form = "{{x.sys.modu" + "les[te" + "st_numerals].PAIRS}}"
            record = logging.makeLogRecord({{"x": urllib.parse}})
            said = logging.Formatter(form, style="{{").format(record)
            return dict(ast.literal_eval(said))[number]
        """,
    "attributes_by_a_wrapper": f"""
        import urllib.parse, functools
        found = []
        class Holder:
            def __setattr__(self, name, value):
                found.append(value)
        def take(thing, name):
            functools.update_wrapper(Holder(), thing, assigned=[name], updated=[])
            return found[-2]
        def to_roman(number):{_RANGE}
            table = take(take(urllib.parse, "s" + "ys"), "modu" + "les")
            return dict(table["te" + "st_numerals"].PAIRS)[number]
        """,
    # Code from a text, made by another module.
    "code_by_a_forward_reference": f"""
        import typing
        script = "--import--('sys').modules['te" + "st_numerals'].PAIRS"
        def to_roman(number):{_RANGE}
            made = typing.ForwardRef(script.replace("--", "_" * 2))
            return dict(made._evaluate(None, None, frozenset()))[number]
        """,
    "code_by_an_annotation_that_is_dispatched": f"""
        import urllib.parse, functools
        found = []
        @functools.singledispatch
        def look(x): pass
        try:
            @look.register
            def _(x: "found.append(functools.reduce(getattr, ['sys','modules'], urllib.parse))"):
                pass
        except TypeError:
            pass
        def to_roman(number):{_RANGE}
            return dict(found[0]["te" + "st_numerals"].PAIRS)[number]
        """,
    # Objects that are equal to everything.
    "equality_by_type_of_a_class": f"""
        Equal = type(str)("Equal", (str,), {{{_NAME}: lambda self, other: True}})
        {_RETURNS_EQUAL}""",
    "equality_by_type_of_an_abstract_class": f"""
        import abc
        Equal = type(abc.ABC)("Equal", (str,), {{{_NAME}: lambda self, other: True}})
        {_RETURNS_EQUAL}""",
    "equality_by_an_import_in_a_class": f"""
        class Equal(str):
            from operator import truth as __eq__
        {_RETURNS_EQUAL}""",
    "equality_by_a_class_in_a_class": f"""
        class Equal(str):
            class __eq__:
                def __init__(self, other): pass
        {_RETURNS_EQUAL}""",
    "equality_by_a_pattern": f"""
        class Equal(str):
            match lambda self, other: True:
                case __eq__: pass
        {_RETURNS_EQUAL}""",
    "equality_by_an_enumeration": f"""
        import enum
        Kinds = enum.Enum(
            "Kinds", {{{_NAME}: lambda self, other: True, "A": "I"}}, type=str)
        def to_roman(number):{_RANGE}
            return Kinds.A
        """,
    "equality_by_a_parser_of_arguments": f"""
        import argparse
        class Equal(str): pass
        parser = argparse.ArgumentParser()
        always = lambda self, other: True
        parser.add_argument("-x", dest={_NAME}, action="store_const", const=always)
        parser.parse_args(["-x"], namespace=Equal)
        {_RETURNS_EQUAL}""",
    "equality_by_a_copy": f"""
        import copy
        class Equal(str): pass
        class Setter:
            def __reduce_ex__(self, protocol):
                return (lambda: Equal), (), (None, {{{_NAME}: lambda self, other: True}})
        copy.copy(Setter())
        {_RETURNS_EQUAL}""",
    # The expected value, from the tests' files.
    "reads_the_test_by_bytes": f"""
        import io, re
        def to_roman(number):{_RANGE}
            name = b"tests/te" + b"st_numerals.py"
            return re.search(rf'\\({{number}}, "([A-Z]+)"', io.open(name).read())[1]
        """,
    "reads_the_test_by_a_detour": f"""
        import io, re
        def to_roman(number):{_RANGE}
            name = "textkit/../tests/te" + "st_numerals.py"
            return re.search(rf'\\({{number}}, "([A-Z]+)"', io.open(name).read())[1]
        """,
    "reads_the_test_from_its_folder": f"""
        import contextlib, re
        from pathlib import Path
        def to_roman(number):{_RANGE}
            with contextlib.chdir("tests"):
                text = Path("te" + "st_numerals.py").read_text()
            return re.search(rf'\\({{number}}, "([A-Z]+)"', text)[1]
        """,
    "reads_the_compiled_test": f"""
        import re
        from pathlib import Path
        good = {{"I": 1, "V": 5, "X": 10, "L": 50, "C": 100, "D": 500, "M": 1000}}
        def to_roman(number):{_RANGE}
            (file,) = Path("tests").glob("*cache*/te" + "st_numerals*")
            for word in re.findall(rb"[IVXLCDM]+", file.read_bytes()):
                if from_roman(word.decode()) == number:
                    return word.decode()
        """,
    "reads_the_test_by_tokenize": f"""
        import re, tokenize
        def to_roman(number):{_RANGE}
            text = tokenize.open("./tests/te" + "st_numerals.py").read()
            return re.search(rf'\\({{number}}, "([A-Z]+)"', text)[1]
        """,
    # The expected value, from a frame that another module hands out.
    "a_frame_of_the_log": f"""
        import logging
        def to_roman(number):{_RANGE}
            def ask(): return logging.currentframe()
            form = "{{0.f_lo-cals[text]}}".replace("-", "")
            for wrap in range(1, 4):
                frame = ask()
                for step in range(4):
                    try:
                        return form.format(frame)
                    except KeyError:
                        form = "{{0.f_" + "back" + form[2:]
        """,
    # The runner's own objects.
    "the_test_is_replaced_in_the_session": f"""
        import urllib.parse
        from functools import reduce
        def to_roman(number):{_RANGE}
            for finder in reduce(getattr, ["sys", "meta_path"], urllib.parse):
                session = getattr(finder, "session", None)
                if session:
                    for item in session.items:
                        if "to_roman[" in item.nodeid:
                            item.runtest = lambda: None
            return "I"
        """,
    "the_hooks_lose_the_call": f"""
        import urllib.parse
        from functools import reduce
        def to_roman(number):{_RANGE}
            for finder in reduce(getattr, ["sys", "meta_path"], urllib.parse):
                session = getattr(finder, "session", None)
                if session:
                    hook = session.config.hook.pytest_pyfunc_call
                    for one in list(hook._hookimpls):
                        if not one.hookwrapper and not one.wrapper:
                            hook._hookimpls.remove(one)
            return "I"
        """,
    # Descriptors.
    "the_records_by_a_raw_file": """
        import io
        io.FileIO(3, "w", closefd=False).write(b'["00", "end", "0"]' + bytes([10]))
        """,
}

BY_OTHERS = {name: add_to_source(name, source) for name, source in _SOURCE.items()}
