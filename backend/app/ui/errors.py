"""Answers to people when something is wrong: a page that says what, with the status that programs would get."""

from __future__ import annotations

from fastapi import Request
from starlette.responses import Response

from app import problems
from app.ui.access import SignInNeeded, local_path
from app.ui.render import page


async def answer(request: Request, error: Exception) -> Response:
    """Turn an expected exception into its answer, for people or for programs; FastAPI calls this."""
    if isinstance(error, SignInNeeded):
        return error.response()
    path = local_path(request)
    if path != "/ui" and not path.startswith("/ui/"):
        return await problems.answer(request, error)
    problem = problems.problem_of(error) or problems.unexpected()
    response = page(
        request, "problem.html", None, problem.status, title=problem.title, detail=problem.detail, errors=problem.errors
    )
    response.headers.update(problem.headers)
    return response
