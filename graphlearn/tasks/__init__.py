"""What is asked, its labels, and how answers are scored."""

from graphlearn.tasks.export import export_relbench
from graphlearn.tasks.manifest import TaskManifest, TaskType
from graphlearn.tasks.task import Task

__all__ = ["Task", "TaskManifest", "TaskType", "export_relbench"]
