"""Training: a Llama fitted to examples of prompts and answers, in torch alone, on a CPU or a GPU."""

from model.training.batches import Batching, Example
from model.training.export import write_folder
from model.training.lora import LoRA
from model.training.network import Network
from model.training.opening import open_network
from model.training.plan import Plan
from model.training.trainer import Progress, Trainer

__all__ = [
    "Batching",
    "Example",
    "LoRA",
    "Network",
    "Plan",
    "Progress",
    "Trainer",
    "open_network",
    "write_folder",
]
