"""Sphinx's roles in docstrings, such as ``:class:`STT```, become code in the web site of the documentation."""

import re

import griffe

ROLE = re.compile(r':(?:attr|class|data|func|meth|mod):`~?([^`]+)`')


class Roles(griffe.Extension):
    """Rewrites every docstring as it is read."""

    def on_object(self, *, obj: griffe.Object, **kwargs: object) -> None:
        if obj.docstring:
            obj.docstring.value = ROLE.sub(r'`\1`', obj.docstring.value)
