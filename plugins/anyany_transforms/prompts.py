"""Prompts: a name put into several sentences, so that its embedding is the mean of many (CLIP's prompt ensemble).

text -> a list of texts. Source: Radford et al. 2021, arXiv 2103.00020, section 3.1.4.
"""

from __future__ import annotations

from anyany.api.torch import Component, Context, Rows


class Prompts(Component):
    """Options: `PromptsConfig`."""

    def fill(self, ctx: Context, text: Rows) -> dict[str, Rows]:
        """texts: each template with the text in the place of `{}`."""
        return {"texts": ctx.lists([[t.replace("{}", one) for t in self.config.templates] for one in text.list()])}
