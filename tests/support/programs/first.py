# mypy: ignore-errors
"""Stands in for Python's package `encodings`, which an interpreter imports first, whatever its options.

A source that is compiled later gives what the same bytes gave once; see tests/support/interpreter.py.
"""

import _frozen_importlib_external as _files
import _imp
import _io
import marshal
import sys

_home = __file__.rpartition("/lib/")[0]
_kept = f"{_home.rpartition('/')[0]}/code/"
_compile = _files.SourceLoader.source_to_code


def _source_to_code(self, data, path, **options):
    try:
        with _io.FileIO(_kept + _imp.source_hash(1, data).hex()) as file:
            code = marshal.loads(file.readall())
    except (OSError, TypeError):
        return _compile(self, data, path, **options)
    _imp._fix_co_filename(code, path)
    return code


_files.SourceLoader.source_to_code = _source_to_code

__path__[:] = [f"{_home}/lib/python{sys.version_info[0]}.{sys.version_info[1]}/encodings"]  # noqa: F821
__file__ = f"{__path__[0]}/__init__.py"  # noqa: F821
exec(_files.SourceFileLoader("encodings", __file__).get_code("encodings"))
