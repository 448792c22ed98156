import { useState } from "preact/hooks";
import { Icon } from "./icon";

interface DropProps {
  accept: string;
  label: string;
  hint: string;
  onFile: (file: File) => void;
  testid?: string;
}

/** A file input that also takes a dropped file; the input itself stays there for keyboards and screen readers. */
export function DropZone({ accept, label, hint, onFile, testid }: DropProps) {
  const [over, setOver] = useState(false);
  return (
    <label
      class={`drop ${over ? "over" : ""}`}
      onDragOver={(event) => {
        event.preventDefault();
        setOver(true);
      }}
      onDragLeave={() => setOver(false)}
      onDrop={(event) => {
        event.preventDefault();
        setOver(false);
        const file = event.dataTransfer?.files[0];
        if (file) onFile(file);
      }}
    >
      <Icon name="upload" />
      <span>
        <b>{label}</b>: drop a file here, or choose one
      </span>
      <small>{hint}</small>
      <input
        type="file"
        accept={accept}
        aria-label={label}
        data-testid={testid}
        onChange={(event) => {
          const file = event.currentTarget.files?.[0];
          event.currentTarget.value = ""; // the same file can be chosen again after it was corrected
          if (file) onFile(file);
        }}
      />
    </label>
  );
}
