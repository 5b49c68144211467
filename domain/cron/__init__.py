"""Cron expressions: when they fire in a time zone, forwards and backwards, also where its clock is changed."""

from domain.cron.fires import Cron
from domain.cron.parse import parse_cron
from domain.cron.zones import EARLIEST, LATEST, parse_zone

__all__ = ["EARLIEST", "LATEST", "Cron", "parse_cron", "parse_zone"]
