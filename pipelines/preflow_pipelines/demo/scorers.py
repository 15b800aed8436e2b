"""The demo's reward and judge: two sentiment scorers from PyPI that share neither lexicon nor method.

The reward is VADER (Hutto and Gilbert 2014): a lexicon rated by crowd workers, with rules for negation and emphasis.
The judge is TextBlob's pattern analyzer (De Smedt and Daelemans 2012): adjectives rated through WordNet senses.
Both read the continuation alone, so the opening, which is the same for everybody, counts for nothing.
"""

from functools import cache

from textblob import TextBlob
from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer


@cache
def _vader():
    return SentimentIntensityAnalyzer()


def reward(prompts, completions):
    """VADER's compound score, in [-1, 1]."""
    return [_vader().polarity_scores(text)["compound"] for text in completions]


def judge(prompts, completions):
    """TextBlob's polarity, in [-1, 1]."""
    return [TextBlob(text).sentiment.polarity for text in completions]
