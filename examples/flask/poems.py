"""The poems: William Blake, 1794, and Emily Dickinson, 1891 and 1896."""

import collections

Poem = collections.namedtuple("Poem", "name title author text")

_ALL = [
    Poem(
        "tyger",
        "The Tyger",
        "William Blake",
        """Tyger Tyger, burning bright,
In the forests of the night;
What immortal hand or eye,
Could frame thy fearful symmetry?

In what distant deeps or skies.
Burnt the fire of thine eyes?
On what wings dare he aspire?
What the hand, dare seize the fire?""",
    ),
    Poem(
        "sick-rose",
        "The Sick Rose",
        "William Blake",
        """O Rose, thou art sick.
The invisible worm,
That flies in the night
In the howling storm:

Has found out thy bed
Of crimson joy:
And his dark secret love
Does thy life destroy.""",
    ),
    Poem(
        "hope",
        "Hope is the thing with feathers",
        "Emily Dickinson",
        """Hope is the thing with feathers
That perches in the soul,
And sings the tune without the words,
And never stops at all,

And sweetest in the gale is heard;
And sore must be the storm
That could abash the little bird
That kept so many warm.""",
    ),
    Poem(
        "no-frigate",
        "There is no frigate like a book",
        "Emily Dickinson",
        """There is no frigate like a book
To take us lands away,
Nor any coursers like a page
Of prancing poetry.

This traverse may the poorest take
Without oppress of toll;
How frugal is the chariot
That bears a human soul!""",
    ),
]
POEMS = {poem.name: poem for poem in _ALL}
