r"""The routes: one group a file, each with a ``router``. To add one, write the file and list it here."""

__all__ = ["ROUTERS"]

from fastapi import APIRouter

from relume.service.routes import answer, health, jobs, models, page

ROUTERS: list[APIRouter] = [answer.router, jobs.router, models.router, health.router, page.router]
