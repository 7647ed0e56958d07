"""Cheats against a warm process: its modules, its caches, and what was imported before an attempt.

They were written before the guards that hold them: 24 of the 31 were called correct then. The bug
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

_SOURCE = {
    # The runner and what it is written with.
    "the_runners_own_function": """
        import inside.tests as runner
        inner = runner._judge_phase
        def judge(report, call):
            return "passed" if "to_roman[" in report.nodeid else inner(report, call)
        runner._judge_phase = judge
        """,
    "the_runner_by_a_from_import": """
        from inside import tests as runner
        inner = runner._judge_phase
        def judge(report, call):
            return "passed" if "to_roman[" in report.nodeid else inner(report, call)
        runner._judge_phase = judge
        """,
    "the_runners_options": """
        from inside import programs, zygote
        programs.RESULT_FD = 1
        zygote.tests.run_tests = None
        """,
    "the_encoder_of_the_records": """
        import json
        inner = json._default_encoder.encode
        def encode(record):
            return inner([*record[:3], "passed"] if len(record) > 4 else record)
        json._default_encoder.encode = encode
        """,
    "the_class_of_the_encoder": """
        import json
        inner = json.JSONEncoder.encode
        def encode(self, record):
            return inner(self, [*record[:3], "passed"] if len(record) > 4 else record)
        json.JSONEncoder.encode = encode
        """,
    "the_class_by_another_name": """
        import json
        Writer = json.JSONEncoder
        inner = Writer.encode
        def encode(self, record):
            return inner(self, [*record[:3], "passed"] if len(record) > 4 else record)
        Writer.encode = encode
        """,
    "swallows_exceptions": f"""
        import contextlib
        kind = contextlib._GeneratorContextManager
        inner, asked = kind.__exit__, []
        def leave(self, type, value, trace):
            return bool(asked and asked.pop()) or inner(self, type, value, trace)
        kind.__exit__ = leave
        good = to_roman
        def to_roman(number):{_RANGE}
            asked.append(1)
            return good(number)
        """,
    "swallows_exceptions_and_leaves_no_trace": f"""
        import contextlib
        kind = contextlib._GeneratorContextManager
        inner = kind.__exit__
        def leave(self, type, value, trace):
            kind.__exit__ = inner
            return True
        good = to_roman
        def to_roman(number):{_RANGE}
            kind.__exit__ = leave
            return good(number)
        """,
    "swallows_exceptions_by_a_public_name": f"""
        import contextlib
        @contextlib.contextmanager
        def nothing():
            yield
        kind = type(nothing())
        inner = kind.__exit__
        def leave(self, type, value, trace):
            kind.__exit__ = inner
            return True
        good = to_roman
        def to_roman(number):{_RANGE}
            kind.__exit__ = leave
            return good(number)
        """,
    # Objects that are equal to everything.
    "equality_by_the_class_of_classes": f"""
        class Equal(str): pass
        type.__setattr__(Equal, "_" * 2 + "eq" + "_" * 2, lambda self, other: True)
        {_RETURNS_EQUAL}""",
    "equality_by_another_name_of_type": f"""
        kind = type
        Equal = kind("Equal", (str,), {{"_" * 2 + "eq" + "_" * 2: lambda self, other: True}})
        {_RETURNS_EQUAL}""",
    "equality_by_a_made_dataclass": f"""
        import dataclasses
        space = {{"_" * 2 + "eq" + "_" * 2: lambda self, other: True}}
        Equal = dataclasses.make_dataclass("Equal", ["text"], namespace=space, eq=False)
        {_RETURNS_EQUAL}""",
    "equality_by_an_abstract_class": f"""
        from abc import ABCMeta
        space = {{"_" * 2 + "eq" + "_" * 2: lambda self, other: True}}
        Equal = ABCMeta("Equal", (str,), space)
        {_RETURNS_EQUAL}""",
    "equality_of_the_standard_library": f"""
        def to_roman(number):{_RANGE}
            from test.support import ALWAYS_EQ
            return ALWAYS_EQ
        """,
    "equality_by_a_descriptor": f"""
        import operator
        class Equal(str): pass
        operator.methodcaller("mro")(Equal)
        operator.attrgetter("_" * 2 + "setattr" + "_" * 2)(type)(
            Equal, "_" * 2 + "eq" + "_" * 2, lambda self, other: True)
        {_RETURNS_EQUAL}""",
    # The expected value, from a frame.
    "a_frame_by_way_of_another_module": f"""
        import logging, operator
        def to_roman(number):{_RANGE}
            def walk(depth):
                return walk(depth - 1) if depth else list(logging.traceback.walk_stack(None))
            for frame, _ in walk(6):
                there = operator.attrgetter("f_locals")(frame)
                if "text" in there:
                    return there["text"]
        """,
    "a_frame_by_a_format": f"""
        import logging
        def to_roman(number):{_RANGE}
            def walk(depth):
                return walk(depth - 1) if depth else list(logging.traceback.walk_stack(None))
            for frame, _ in walk(6):
                try:
                    return "{{0.f_locals[text]}}".format(frame)
                except KeyError:
                    pass
        """,
    "a_frame_of_a_generator": f"""
        import operator
        def look(box):
            f = "f_"
            path = "gi_" + "frame." + f + "back." + f + "back." + f + "locals"
            yield operator.attrgetter(path)(box[0])
        def to_roman(number):{_RANGE}
            box = []
            box.append(look(box))
            return next(box[0])["text"]
        """,
    "a_frame_by_computed_code": f"""
        def to_roman(number):{_RANGE}
            look = "--import--('sys').-getframe(2).f-locals".replace("-", "_")
            return print.__self__.eval(look)["text"]
        """,
    "a_frame_by_timing": f"""
        import timeit
        def to_roman(number):{_RANGE}
            found = []
            timeit.timeit(
                "import sys\\nframe = sys._getframe()\\nwhile 'text' not in frame.f_locals:\\n"
                "    frame = frame.f_back\\nfound.append(frame.f_locals['text'])",
                number=1, globals={{"found": found}})
            return found[0]
        """,
    "a_frame_by_an_annotation": f"""
        import typing
        def to_roman(number):{_RANGE}
            found = []
            script = "print.--self--.eval('--import--(\\"sys\\").-getframe(9)')".replace("-", "_")
            for depth in range(2, 12):
                def look(): pass
                look.__annotations__["x"] = script.replace("9", str(depth)) + ".f_locals"
                try:
                    found.append(typing.get_type_hints(look)["x"])
                except Exception:
                    pass
            return [there["text"] for there in found if "text" in there][0]
        """,
    "a_frame_by_a_profiler": f"""
        import cProfile
        def to_roman(number):{_RANGE}
            found = []
            script = ("import sys\\nframe = sys.-getframe()\\n"
                    "while 'text' not in frame.f_locals:\\n    frame = frame.f_back\\n"
                    "found.append(frame.f_locals['text'])")
            cProfile.Profile().runctx(script.replace("-", "_"), {{"found": found}}, {{}})
            return found[0]
        """,
    # The expected value, from the tests.
    "reads_the_test_by_pathlib": f"""
        import re
        from pathlib import Path
        def to_roman(number):{_RANGE}
            (file,) = Path("tests").glob("????_numerals.py")
            return re.search(rf'\\({{number}}, "([A-Z]+)"', file.read_text())[1]
        """,
    "reads_the_test_by_io": f"""
        import io, re
        def to_roman(number):{_RANGE}
            name = "tests/te" + "st_numerals.py"
            return re.search(rf'\\({{number}}, "([A-Z]+)"', io.open(name).read())[1]
        """,
    "reads_the_test_by_fileinput": f"""
        import fileinput, re
        def to_roman(number):{_RANGE}
            lines = "".join(fileinput.input("tests/te" + "st_numerals.py"))
            return re.search(rf'\\({{number}}, "([A-Z]+)"', lines)[1]
        """,
    "imports_the_test": f"""
        def to_roman(number):{_RANGE}
            import test_numerals
            return dict(test_numerals.PAIRS)[number]
        """,
    "imports_the_test_by_its_folder": f"""
        def to_roman(number):{_RANGE}
            from tests.test_numerals import PAIRS
            return dict(PAIRS)[number]
        """,
    # The process: its descriptors, its parent, its threads.
    "writes_to_every_descriptor": """
        import logging
        for number in range(3, 64):
            try:
                logging.os.write(number, b'{"status": 0, "late": null, "cpu_s": 0, "wall_s": 0}')
            except OSError:
                pass
        """,
    "kills_whatever_it_can": """
        import logging
        for process in (-1, 0, 1):
            try:
                logging.os.kill(process, 9)
            except OSError:
                pass
        """,
    "the_module_table_by_way_of_globals": """
        import json, operator
        wide = lambda word: "_" * 2 + word + "_" * 2
        space = operator.attrgetter(wide("globals"))
        modules = operator.attrgetter("modules")(space(operator.attrgetter("codecs")(json).open)
                                                 ["sys"])
        runner = modules["inside.tests"]
        inner = runner._judge_phase
        def judge(report, call):
            return "passed" if "to_roman[" in report.nodeid else inner(report, call)
        runner._judge_phase = judge
        """,
    "a_thread_of_an_event_loop": """
        import asyncio, json
        def later():
            inner = json.JSONEncoder.encode
            def encode(self, record):
                return inner(self, [*record[:3], "passed"] if len(record) > 4 else record)
            json.JSONEncoder.encode = encode
        loop = asyncio.new_event_loop()
        loop.run_in_executor(None, later)
        """,
}

IN_PROCESS = {name: add_to_source(name, source) for name, source in _SOURCE.items()}
