"""Statements: where a report's figures stand, for questions on figures that have no words in common with it.

"Is the gross margin improving?" is answered from the statement of income, which says neither "margin" nor
"improving": neither leg of the search finds it among hundreds of pages. What each statement is called and
which lines it has is the same in every report, so the question's terms of accounting name the statement, and
a description of that statement is what is searched for, in the documents that the question has found.

English terms alone: they are what could be measured (docs/decisions/0304-several-places.md).
"""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Statement:
    """A statement that reports have: the terms that ask for it, and what it looks like."""

    asked_by: re.Pattern[str]
    description: str


def _terms(*listed: str) -> re.Pattern[str]:
    return re.compile(rf"(?<!\w)(?:{'|'.join(listed)})(?!\w)", re.IGNORECASE)


STATEMENTS = (
    Statement(
        _terms(
            r"(?:gross|operating|net|profit|ebitda|ebit|pre-?tax) (?:profit |income )?margins?",
            r"gross profits?|cogs|cost of (?:goods sold|sales|revenues?)|net (?:income|earnings|loss|profit)",
            r"operating (?:income|profit|expenses?)|(?:total |net )?revenues?|net sales|top-?line",
            r"p&l|profit and loss|(?:income|earnings) statement",
            r"statements? of (?:income|operations|earnings)",
            r"interest (?:expense|coverage)|ebit|earnings per share|eps|sg&a|profitability",
            r"dpo|dio|days (?:payables?|inventory) outstanding|inventory turnover|asset turnover",
        ),
        "Consolidated statements of income, operations, earnings: net sales, revenue, cost of sales, "
        "gross profit, operating income, interest expense, income tax, net income, earnings per share",
    ),
    Statement(
        _terms(
            r"balance sheets?|statements? of financial position|(?:total|current|fixed|net|quick)? ?assets",
            r"asset turnover|liabilit(?:y|ies)|accounts? (?:payable|receivable)|receivables|payables",
            r"inventor(?:y|ies)|inventory turnover|working capital|(?:quick|current|debt|leverage) ratios?",
            r"(?:share|stock)holders['’]? equity|net debt|long-term debt|pp&e|property, plant|goodwill",
            r"cash (?:and|&) (?:cash )?equivalents|dpo|dio|dso|liquidity|return on (?:assets|equity)|roa|roe",
            r"days (?:payables?|sales|inventory) outstanding",
        ),
        "Consolidated balance sheets: total assets, cash and cash equivalents, receivables, inventories, "
        "accounts payable, long-term debt, total liabilities, shareholders' equity",
    ),
    Statement(
        _terms(
            r"cash flows?|capital expenditures?|capex|free cash flow|dividends? paid|cash dividends?",
            r"(?:operating|operations|investing|financing) activities|depreciation",
            r"(?:share|stock) (?:repurchases?|buybacks?)",
        ),
        "Consolidated statements of cash flows: operating activities, investing activities, financing "
        "activities, capital expenditures, dividends paid, repurchase of common stock",
    ),
    Statement(
        _terms(
            r"effective (?:income )?tax rates?|tax rates?|return on (?:equity|assets|capital)",
            r"key (?:figures|metrics|ratios)|(?:payout|efficiency|combined|capital) ratios?",
        ),
        "Summary of financial performance, selected financial data: margins, ratios, effective tax rate, "
        "return on equity",
    ),
    Statement(
        _terms(
            r"segments?|geograph(?:y|ies|ic|ical)|(?:which|by|each) regions?|business units?",
            r"product (?:lines?|categor(?:y|ies))|service categor(?:y|ies)",
        ),
        "Segment results: revenue and operating income by segment, product, service, region",
    ),
)
"""In the order of preference when there is not room for all."""


def asked_statements(question: str, most: int) -> list[str]:
    """Descriptions of the statements that the question's terms ask for, at most `most`."""
    found = [each.description for each in STATEMENTS if each.asked_by.search(question)]
    return found[:most]
