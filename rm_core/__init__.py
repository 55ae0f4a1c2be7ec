"""The reward model: a frozen backbone, a linear reward head, and everything between.

Nothing here knows of databases, web pages or environment variables. Importing `rm_core` or
any of its modules never imports torch or transformers; functions that need them do. (The one
exception, `rm_core.export.modeling_reward`, is a file that exports carry.)

    from rm_core.scoring import RewardModel
    model = RewardModel.from_checkpoint("studio-data/checkpoints/…")
    model.score("What is a good name for a cat?", ["Whiskers.", "Table."])
"""
